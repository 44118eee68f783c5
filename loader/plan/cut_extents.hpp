// Extents and deliveries, the last step of make_plan(): what the routes want of the shards is gathered into ranges of
// whole blocks, the ranges are cut into extents, and each extent learns what in it belongs to whom. Pure; one thread.
#pragma once

#include <vector>

#include "loader/plan/placement.hpp"
#include "loader/plan/plan.hpp"

namespace sluice {

/// Sets extents, parts and deliveries of `plan`, and the number of deliveries of each placement. `in_place` is what
/// place() said. Throws Error{limit_exceeded} where slabs are too small for the tables of what is wanted.
void cut_extents(PlanData& plan, const std::vector<ShardRange>& in_place);

}  // namespace sluice
