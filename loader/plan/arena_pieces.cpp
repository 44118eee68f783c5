#include "loader/plan/arena_pieces.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <tuple>
#include <vector>

#include "loader/base/alignment.hpp"
#include "loader/base/limits.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

// The extents that bring something to each piece.
void find_extents(PlanData& plan) {
  std::vector<bool> met(plan.pieces.size());
  for (std::uint32_t number = 0; number < plan.extents.size(); ++number) {
    for (const Delivery& delivery : plan.deliveries_of(plan.extents[number])) {
      const auto at = piece_of(plan, plan.placements[delivery.placement]);
      if (!at) continue;
      ArenaPiece& piece = plan.pieces[*at];
      if (!met[*at]) piece.first_extent = number;
      met[*at] = true;
      piece.last_extent = number;
    }
  }
}

// A device's pieces in the order in which they are needed.
std::vector<ArenaPiece> pieces_on(const PlanData& plan, std::size_t device) {
  std::vector<ArenaPiece> pieces;
  std::copy_if(plan.pieces.begin(), plan.pieces.end(), std::back_inserter(pieces),
               [&](const ArenaPiece& piece) { return piece.device == device; });
  std::stable_sort(pieces.begin(), pieces.end(),
                   [](const ArenaPiece& a, const ArenaPiece& b) { return a.first_extent < b.first_extent; });
  return pieces;
}

// The most bytes of pieces that are there at a time if each goes as soon as it is complete.
std::uint64_t peak_of(const std::vector<ArenaPiece>& pieces) {
  struct Change {
    std::uint32_t extent;
    bool ends;
    std::uint64_t bytes;
  };
  std::vector<Change> changes;
  for (const ArenaPiece& piece : pieces) {
    changes.push_back({piece.first_extent, false, piece.bytes});
    changes.push_back({piece.last_extent, true, piece.bytes});
  }
  std::sort(changes.begin(), changes.end(),
            [](const Change& a, const Change& b) { return std::tie(a.extent, a.ends) < std::tie(b.extent, b.ends); });
  std::uint64_t there = 0;
  std::uint64_t peak = 0;
  for (const Change& change : changes) {
    there = change.ends ? there - change.bytes : there + change.bytes;
    peak = std::max(peak, there);
  }
  return peak;
}

// Likewise, if a tensor of it is held until the next piece is complete.
std::uint64_t peak_with_one_held(std::vector<ArenaPiece> pieces) {
  for (std::size_t i = 1; i < pieces.size(); ++i) {
    pieces[i - 1].last_extent = std::max(pieces[i - 1].last_extent, pieces[i].last_extent);
  }
  return peak_of(pieces);
}

void bound_device(PlanData& plan, std::size_t device, std::uint64_t largest) {
  PlanCosts::OnDevice& on = plan.costs.devices[device];
  const std::vector<ArenaPiece> pieces = pieces_on(plan, device);
  const std::uint64_t least = peak_of(pieces);
  if (least > plan.budget_bytes + largest) {
    throw Error(ErrorCode::limit_exceeded,
                fmt::format("{} bytes of tensors on {} are under way at a time, the budget is {}: slabs are large for "
                            "it, or destinations are made of parts that lie far apart in the checkpoint",
                            least, name(plan.devices[device]), plan.budget_bytes),
                {plan.catalogue->path.string(), {}, {}},
                "raise the budget, or give what belongs together a group of its own");
  }
  // Tensors begin and end within units: two neighbours, each in a piece of its own, may take one more each.
  constexpr std::uint64_t rounding = 2 * limits::piece_bytes_unit;
  const std::uint64_t held = std::min(peak_with_one_held(pieces), plan.budget_bytes + largest + rounding);
  on.arena_peak_bytes = std::min(on.arena_bytes, std::max({plan.budget_bytes, least, held}));
}

}  // namespace

std::uint64_t piece_bytes_of(const Request& request) noexcept {
  if (request.budget_bytes == 0) return 0;
  if (request.piece_bytes != 0) return request.piece_bytes;
  const std::uint64_t share = std::min(request.budget_bytes / 4, limits::piece_bytes_default_max);
  return std::max(align_down(share, limits::piece_bytes_unit), limits::piece_bytes_unit);
}

std::optional<std::uint32_t> piece_of(const PlanData& plan, const Placement& placement) noexcept {
  if (plan.pieces.empty() || placement.region != 0 || placement.bytes == 0) return std::nullopt;
  const auto behind = std::partition_point(plan.pieces.begin(), plan.pieces.end(), [&](const ArenaPiece& piece) {
    return std::tie(piece.device, piece.offset) <= std::tie(placement.device, placement.arena_offset);
  });
  return static_cast<std::uint32_t>(behind - plan.pieces.begin() - 1);
}

void settle_pieces(PlanData& plan) {
  if (plan.budget_bytes == 0) {
    for (PlanCosts::OnDevice& on : plan.costs.devices) on.arena_peak_bytes = on.arena_bytes;
    return;
  }
  std::vector<std::uint64_t> largest(plan.devices.size());
  for (const Placement& placement : plan.placements) {
    const auto piece = piece_of(plan, placement);
    if (!piece) continue;
    ++plan.pieces[*piece].placements;
    largest[placement.device] = std::max(largest[placement.device], placement.bytes);
  }
  find_extents(plan);
  for (std::size_t i = 0; i < plan.devices.size(); ++i) bound_device(plan, i, largest[i]);
}

}  // namespace sluice
