// What a person reads at the end of a command. Names are escaped; nothing here touches the machine.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "loader/tool/origins.hpp"
#include "loader/tool/output.hpp"
#include "loader/tool/probes.hpp"
#include "sluice/checkpoint.hpp"
#include "sluice/plan.hpp"
#include "sluice/stats.hpp"
#include "sluice/tensor.hpp"

namespace sluice::tool {

/// The name of the third phase in listings and objects.
inline constexpr const char* phase_start_up = "start-up";

/// The shards' paths as in the folder that was opened, in order.
std::vector<std::string> shard_names(const Checkpoint& checkpoint);

/// The most bytes of arenas that are there at a time, on all devices.
std::uint64_t peak_arena_bytes(const PlanCosts& costs) noexcept;

/// Bytes of the process's own memory that a load of this plan holds: staging and the host's arena.
std::uint64_t held_host_bytes(const PlanCosts& costs) noexcept;

void report_inspect(Output& output, const Checkpoint& checkpoint, std::span<const TensorInfo> tensors);
/// `origins`: of a plan that a rules file asks for, else nullptr.
void report_plan(Output& output, const Checkpoint& checkpoint, const Plan& plan, const Origins* origins);
/// `digests`: one for each tensor, or none.
void report_load(Output& output, const Checkpoint& checkpoint, std::span<const Tensor> tensors,
                 std::span<const std::string> digests, const Stats& stats);
void report_doctor(Output& output, std::span<const Check> checks);

}  // namespace sluice::tool
