// Extents and deliveries, the third step of make_plan(): what the placements want of the shards is gathered into ranges
// of whole blocks, the ranges are cut into extents, and each extent learns what in it belongs to whom. Pure; one
// thread.
#pragma once

#include <vector>

#include "loader/plan/placement.hpp"
#include "loader/plan/plan.hpp"

namespace sluice {

/// Sets extents and deliveries of `plan`, and the number of deliveries of each placement. `wanted` is what its
/// placements want, and `in_place` what place() said of it, both in file order.
void cut_extents(PlanData& plan, const BigVector<Wanted>& wanted, const std::vector<ShardRange>& in_place);

}  // namespace sluice
