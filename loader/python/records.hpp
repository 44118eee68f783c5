// Records: what Python is told of tensors, shards, progress and statistics, as named tuples and dictionaries. The GIL.
#pragma once

#include "loader/python/python.hpp"
#include "sluice/checkpoint.hpp"
#include "sluice/plan.hpp"
#include "sluice/stats.hpp"

namespace sluice::python {

/// The types of the named tuples, into state().
void make_record_types();

Ref record_of(const TensorInfo& info);
Ref record_of(const Shard& shard);
Ref record_of(const Progress& progress);
/// A dictionary, with the names of Stats.
Ref dictionary_of(const Stats& stats);
/// Likewise of PlanCosts.
Ref dictionary_of(const PlanCosts& costs);

}  // namespace sluice::python
