// Routing: the placements that a request makes and the routes that fill them, the second step of make_plan(): selection
// -> routing -> placement -> extents. It proves that every element of a destination is written exactly once. Pure; one
// thread.
#pragma once

#include "loader/plan/bindings.hpp"
#include "loader/plan/findings.hpp"
#include "loader/plan/plan.hpp"
#include "loader/plan/selection.hpp"

namespace sluice {

/// Fills in the plan's placements, but for their places in arenas, its descriptions, regions, fills, routes and groups,
/// and where the caller's memory lies. What cannot be done is added to `findings`; then the plan is of no use.
Bindings make_routes(PlanData& plan, const Selection& selection, const Request& request, Findings& findings);

}  // namespace sluice
