#include "loader/engine/load_memory.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <tuple>
#include <utility>

#include "loader/base/limits.hpp"
#include "loader/plan/access.hpp"
#include "loader/plan/plan.hpp"

namespace sluice {
namespace {

[[noreturn]] void refuse(std::string message, std::string hint = {}) {
  throw Error(ErrorCode::invalid_argument, std::move(message), {}, std::move(hint));
}

// The index of a device that start() was told something about.
std::size_t index_of(const PlanData& plan, DeviceId device, std::string_view what) {
  const auto found = std::find(plan.devices.begin(), plan.devices.end(), device);
  if (found == plan.devices.end()) {
    refuse(fmt::format("{} on {}, to which the plan delivers nothing", what, name(device)),
           "Plan::costs() names the plan's devices");
  }
  return static_cast<std::size_t>(found - plan.devices.begin());
}

std::byte* check_arena(const PlanCosts::OnDevice& needs, const Memory& arena) {
  if (arena.bytes < needs.arena_bytes) {
    refuse(fmt::format("the arena on {} has {} bytes, the plan needs {}", name(arena.device), arena.bytes,
                       needs.arena_bytes),
           "Plan::costs() tells arena_bytes");
  }
  const auto address = reinterpret_cast<std::uintptr_t>(arena.data);
  if ((arena.data == nullptr && needs.arena_bytes != 0) || address % limits::direct_alignment_bytes != 0) {
    refuse(fmt::format("the arena on {} lies at {}, not at a multiple of {}", name(arena.device), arena.data,
                       limits::direct_alignment_bytes));
  }
  if (arena.bytes > UINTPTR_MAX - address) refuse("an arena reaches beyond all addresses");
  return static_cast<std::byte*>(arena.data);
}

// No two pieces of the caller's memory may share bytes.
void check_disjoint(const PlanData& plan, const Bindings& bindings, const std::vector<std::byte*>& arenas) {
  struct Piece {
    std::uint8_t device;
    std::uintptr_t begin;
    std::uintptr_t end;
  };
  std::vector<Piece> pieces;
  const auto add = [&](std::size_t device, const std::byte* data, std::uint64_t bytes) {
    const auto begin = reinterpret_cast<std::uintptr_t>(data);
    if (data != nullptr && bytes != 0) pieces.push_back({static_cast<std::uint8_t>(device), begin, begin + bytes});
  };
  for (std::size_t i = 0; i < arenas.size(); ++i) add(i, arenas[i], plan.costs.devices[i].arena_bytes);
  if (pieces.empty()) return;  // make_plan() has looked at the rest
  for (std::size_t i = 0; i < plan.regions.size(); ++i) {
    add(plan.regions[i].device, bindings.regions[i], plan.regions[i].bytes);
  }
  std::sort(pieces.begin(), pieces.end(),
            [](const Piece& a, const Piece& b) { return std::tie(a.device, a.begin) < std::tie(b.device, b.begin); });
  for (std::size_t i = 1; i < pieces.size(); ++i) {
    if (pieces[i].device != pieces[i - 1].device || pieces[i - 1].end <= pieces[i].begin) continue;
    refuse(fmt::format("an arena on {} overlaps a destination's memory", name(plan.devices[pieces[i].device])));
  }
}

}  // namespace

LoadMemory memory_for(const Plan& plan, const StartOptions& options) {
  const PlanData& data = *Access::data(plan);
  LoadMemory memory;
  memory.arenas.resize(data.devices.size());
  memory.after.resize(data.devices.size());
  std::vector<bool> given(data.devices.size());
  if (!options.arenas.empty() && data.budget_bytes != 0) {
    refuse("arenas are given to a load with a budget, which bounds those of its own",
           "leave out either StartOptions::arenas or Request::budget_bytes");
  }
  for (const Memory& arena : options.arenas) {
    const std::size_t index = index_of(data, arena.device, "an arena");
    if (given[index]) refuse(fmt::format("two arenas on {}", name(arena.device)));
    given[index] = true;
    if (arena.device.kind != DeviceId::Kind::null) memory.arenas[index] = check_arena(data.costs.devices[index], arena);
  }
  check_disjoint(data, *Access::bindings(plan), memory.arenas);
  for (const StartOptions::After& after : options.after) {
    const std::size_t index = index_of(data, after.device, "a stream to wait for");
    if (after.device.kind != DeviceId::Kind::cuda) {
      refuse(fmt::format("{} has no streams to wait for", name(after.device)));
    }
    if (memory.after[index] != nullptr) refuse(fmt::format("two streams to wait for on {}", name(after.device)));
    memory.after[index] = mark_cuda_stream(after.device.ordinal, after.stream);
  }
  return memory;
}

}  // namespace sluice
