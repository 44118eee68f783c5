// Targets: where a load's placements lie on one device: in its arena, or in memory of the caller's. Plain data.
#pragma once

#include <cstddef>

#include "loader/plan/bindings.hpp"
#include "loader/plan/plan.hpp"

namespace sluice {

struct Targets {
  std::byte* arena = nullptr;  // addresses on the device
  const Bindings* bindings = nullptr;

  /// What the offsets of the placement's deliveries count from.
  std::byte* base_of(const Placement& placement) const noexcept {
    return placement.region == 0 ? arena : bindings->regions[placement.region - 1];
  }
};

}  // namespace sluice
