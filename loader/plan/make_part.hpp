// make_part(): how one extent gets to one device, a step of cut_extents(). Pure; any thread.
#pragma once

#include <cstdint>

#include "loader/plan/plan.hpp"

namespace sluice {

struct DeliveryRange {
  std::uint32_t first = 0;  // index into PlanData::deliveries
  std::uint32_t count = 0;
};

/// The part of `extent` that consists of these deliveries, all to `device`. Before them come `deliveries_before` of the
/// same extent, to other devices. REQUIRES: there is at least one delivery.
Part make_part(const PlanData& plan, const Extent& extent, std::uint8_t device, DeliveryRange deliveries,
               std::uint32_t deliveries_before);

}  // namespace sluice
