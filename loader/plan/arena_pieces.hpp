// Pieces of arenas: with a budget, an arena's memory comes and goes in parts, and a plan says which and when. The step
// of make_plan() behind the cutting of extents; placement has drawn the borders. Pure; one thread.
#pragma once

#include <cstdint>
#include <optional>

#include "loader/plan/plan.hpp"

namespace sluice {

/// Request::piece_bytes, with 0 replaced by what it stands for; 0 without a budget.
std::uint64_t piece_bytes_of(const Request& request) noexcept;

/// The piece that a placement lies in, as an index into PlanData::pieces; none without a budget, of the caller's memory
/// and for no bytes. O(log n).
std::optional<std::uint32_t> piece_of(const PlanData& plan, const Placement& placement) noexcept;

/// Finds what lies in each piece and when it is needed, and sets arena_peak_bytes of costs.devices: what a load gets
/// along with whose caller drops each tensor when the next arrives, and the budget where that is more; never more than
/// the budget and the largest tensor, in whole units. Throws Error{limit_exceeded} where that is too little for a
/// caller who drops each as soon as it arrives.
void settle_pieces(PlanData& plan);

}  // namespace sluice
