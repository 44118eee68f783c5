// The objects that --json prints. Their shape is a contract: keys may be added, never renamed or removed.
// Text that is not UTF-8 (a path may be anything) is written with U+FFFD in place of what is not.
#pragma once

#include <span>
#include <string>

#include "loader/tool/origins.hpp"
#include "loader/tool/output.hpp"
#include "loader/tool/probes.hpp"
#include "sluice/checkpoint.hpp"
#include "sluice/options.hpp"
#include "sluice/plan.hpp"
#include "sluice/stats.hpp"
#include "sluice/tensor.hpp"

namespace sluice::tool {

/// {"tensors": [{name, dtype, shape, bytes, shard, offset}]}; `shards` are named as in shard_names().
void write_inspect_json(Output& output, std::span<const TensorInfo> tensors, std::span<const std::string> shards);

/// {"tensors": [{name, dtype, shape, bytes, device, digest, group, from}], "stats": {...}}; without `digests` there is
/// no such key, and without `origins` neither group nor from: a list of {tensor, slice, into}.
void write_load_json(Output& output, std::span<const Tensor> tensors, std::span<const std::string> digests,
                     const Stats& stats, const Origins* origins);

/// The same keys with what would be; what only a load can tell is null.
void write_plan_json(Output& output, const Checkpoint& checkpoint, const Plan& plan, const Options& options,
                     const Origins* origins);

/// {"checks": [{name, status, finding, advice}]}; advice is null where there is nothing to do.
void write_doctor_json(Output& output, std::span<const Check> checks);

}  // namespace sluice::tool
