// Reading order: in which order a load reads a plan's extents. A step of cutting extents; pure, one thread.
//
// Groups come in ascending order. Within a group, extents for the same devices stay in the order of files, and those
// for each set of devices are spread evenly over the group: of a matrix that is split by rows, the first half is one
// GPU's and the second another's. One after the other, each would leave the other's link idle, unless staging spans
// both. Not so with a budget: memory comes in the order of reading, and what is read late of early memory would keep
// it.
#pragma once

#include "loader/plan/plan.hpp"

namespace sluice {

/// Puts the plan's extents, which come in the order of files, into that of reading. Their parts and deliveries stay in
/// the order of files.
void sort_for_reading(PlanData& plan);

}  // namespace sluice
