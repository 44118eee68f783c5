// Placement of tensors in arenas, the third step of make_plan(): selection -> routing -> placement -> extents. Pure;
// one thread. It depends on checkpoint and request alone: two processes, or two engines, place alike.
//
// Destinations come first, in the request's order. Tensors that are wanted as they are and are neighbours in the shard
// stay neighbours in the arena: a *run*, whose distance arena - shard is one constant, so that it travels in one copy.
// A run ends where a tensor is left out or cast, and where that constant would break what the next tensor's alignment
// is promised to be.
//
// With a budget, all of it comes in the order of reading instead, and the arena is cut into pieces (ArenaPiece): a
// tensor and a run lie within one.
#pragma once

#include <cstdint>
#include <vector>

#include "loader/plan/plan.hpp"

namespace sluice {

struct ShardRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint32_t shard = 0;
};

/// Sets the arena offset of every placement, the arena_bytes of costs.devices, and with a budget the borders of pieces.
/// Returns the ranges of shards that can be read in place, in file order: whole blocks of runs that only a host arena
/// takes, of limits::in_place_bytes_min at least, each within one group.
std::vector<ShardRange> place(PlanData& plan);

}  // namespace sluice
