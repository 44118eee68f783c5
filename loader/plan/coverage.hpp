// Coverage: which elements of a shape some boxes hold, and whether one is held twice. What make_plan() proves that
// destinations are written exactly once with. Pure; one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "loader/plan/box.hpp"

namespace sluice {

struct Coverage {
  std::vector<Box> gaps;                                           // disjoint; together all that no box holds
  std::optional<std::pair<std::uint32_t, std::uint32_t>> overlap;  // two boxes that share elements, and
  Box shared;                                                      // some of these
};

/// Of `boxes`, which all see `shape`. The time grows as n log n with boxes that lie on a grid.
Coverage cover(std::span<const std::uint64_t> shape, std::span<const Box> boxes);

}  // namespace sluice
