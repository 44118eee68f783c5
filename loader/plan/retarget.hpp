// retarget(): a plan's placements, as they lie, filled from another checkpoint: what a reload in place is made of.
// Pure; one thread.
#pragma once

#include <memory>

#include "loader/plan/plan.hpp"

namespace sluice {

/// A plan without extents yet, whose placements lie where those of `like` do and whose routes lead there from the
/// tensors of `catalogue` of the same names. Throws Error{tensor_not_found} for a tensor that is not there,
/// Error{invalid_argument} for one of another shape or dtype, and, if the request of `like` was strict,
/// Error{incomplete} for tensors that the checkpoint of `like` does not have.
std::shared_ptr<PlanData> retarget(const PlanData& like, std::shared_ptr<const Catalogue> catalogue);

}  // namespace sluice
