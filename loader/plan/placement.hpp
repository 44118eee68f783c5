// Placement of tensors in arenas, the second step of make_plan(): selection -> placement -> extents. Pure; one thread.
//
// Tensors that are wanted as they are and are neighbours in the shard stay neighbours in the arena: a *run*, whose
// distance arena - shard is one constant, so that it travels in one copy. A run ends where a tensor is left out or
// cast, and where that constant would break what the next tensor's alignment is promised to be.
#pragma once

#include <cstdint>
#include <vector>

#include "loader/plan/plan.hpp"

namespace sluice {

/// A tensor of the request that has bytes, with its placements, which lie side by side in PlanData::placements.
struct Wanted {
  std::uint64_t begin = 0;  // in the shard
  std::uint64_t end = 0;
  std::uint32_t shard = 0;
  std::uint32_t first_placement = 0;
  std::uint32_t placement_count = 0;
  std::uint32_t unit_bytes = 1;  // it may be cut at multiples of these from its begin: an element where it is cast
  Dtype dtype = Dtype::u8;       // the catalogue's
};

struct ShardRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint32_t shard = 0;
};

/// Bytes that `source_bytes` of dtype `from` fill as `to`. Whole elements of castable dtypes only, or `from` == `to`.
std::uint64_t delivered_bytes(std::uint64_t source_bytes, Dtype from, Dtype to) noexcept;

/// Sets the arena offset of every placement and the arena_bytes of costs.devices. Returns the ranges of shards that can
/// be read in place, in file order: whole blocks of runs that only a host arena takes, of limits::in_place_bytes_min at
/// least.
std::vector<ShardRange> place(PlanData& plan, const BigVector<Wanted>& wanted);

}  // namespace sluice
