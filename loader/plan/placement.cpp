#include "loader/plan/placement.hpp"

#include <algorithm>
#include <bit>

#include "loader/base/alignment.hpp"
#include "loader/base/limits.hpp"

namespace sluice {
namespace {

// What the arena offset of a placement is a multiple of, wherever it comes from.
std::uint64_t alignment_of(const PlanData& plan, const Placement& placement) {
  const std::uint64_t natural = natural_alignment(placement.dtype);
  if (plan.alignment_bytes != 0) return std::max<std::uint64_t>(plan.alignment_bytes, natural);
  const std::uint64_t size = std::bit_floor(placement.bytes);
  return std::max<std::uint64_t>(std::min<std::uint64_t>(limits::tensor_alignment_bytes, size), natural);
}

// The same where `route` fills it, in one run where `identity` says so.
std::uint64_t promised_alignment(const PlanData& plan, const Placement& placement, const Route& route, bool identity) {
  if (!identity) return alignment_of(plan, placement);  // what writes elements gains nothing by their being misaligned
  if (plan.alignment_bytes != 0) return plan.alignment_bytes;
  const std::uint64_t alignment = alignment_of(plan, placement);
  if (plan.devices[placement.device].kind != DeviceId::Kind::host) return alignment;
  // As it is in the shard, and no more: so that storage can be read straight into place.
  const std::uint64_t in_shard = std::uint64_t{1} << std::countr_zero(route.begin | limits::tensor_alignment_bytes);
  return std::max<std::uint64_t>(std::min(alignment, in_shard), natural_alignment(placement.dtype));
}

// A run that is being gathered. Each of its tensors asks that the run's distance, arena - shard, have a remainder
// modulo the tensor's alignment. All are powers of two, so the largest of them carries what all ask for.
struct Run {
  std::uint64_t begin = 0;  // in the shard
  std::uint64_t end = 0;
  std::uint64_t bytes = 0;  // in the arena
  std::uint64_t modulus = 1;
  std::uint64_t remainder = 0;
  std::uint32_t shard = 0;
  std::uint32_t group = 0;
  std::uint32_t number = 0;  // index of its distance
  bool identity = false;     // neighbours may join
  bool direct = false;       // only the host takes it, and a distance that is a multiple of a block suits it
};

// One device's arena as it fills.
struct ArenaFill {
  std::uint64_t bytes = 0;
  Run run;
};

// How far a run lies behind its place in the shard, modulo 2^64: the arena's offset may be the smaller one.
class Distance {
 public:
  Distance() = default;
  Distance(std::uint64_t shard_offset, std::uint64_t arena_offset) : value_(arena_offset - shard_offset) {}
  std::uint64_t arena_offset_of(std::uint64_t shard_offset) const { return shard_offset + value_; }

 private:
  std::uint64_t value_ = 0;
};

class Placer {
 public:
  explicit Placer(PlanData& plan) : plan_(plan), arenas_(plan.devices.size()), run_of_(plan.placements.size()) {}

  void add_destination(Placement& placement) {
    if (placement.region != 0 || placement.bytes == 0) return;
    std::uint64_t& bytes = arenas_[placement.device].bytes;
    placement.arena_offset = align_up(bytes, alignment_of(plan_, placement));
    bytes = placement.arena_offset + placement.bytes;
  }

  // `alone`: nothing else is wanted of the route's bytes.
  void add(const Route& route, std::uint32_t index, bool alone) {
    const Placement& placement = plan_.placements[index];
    ArenaFill& arena = arenas_[placement.device];
    Run next;
    next.identity = placement.dtype == route.dtype && route.loop_count == 0;
    const std::uint64_t alignment = promised_alignment(plan_, placement, route, next.identity);
    next.begin = route.begin;
    next.end = route.end;
    next.bytes = placement.bytes;
    next.modulus = alignment;
    next.remainder = (0 - route.begin) & (alignment - 1);
    next.shard = route.shard;
    next.group = route.group;
    next.direct = next.identity && next.remainder == 0 && alone && route.placement_count == 1 &&
                  plan_.devices[placement.device].kind == DeviceId::Kind::host;
    if (!join(arena.run, next)) {
      finish(arena);
      next.number = static_cast<std::uint32_t>(distances_.size());
      distances_.emplace_back();
      arena.run = next;
    }
    run_of_[index] = arena.run.number;
  }

  // Gives the open runs their places, and the placements their offsets.
  void finish() {
    for (std::size_t i = 0; i < arenas_.size(); ++i) {
      finish(arenas_[i]);
      plan_.costs.devices[i].arena_bytes = align_up(arenas_[i].bytes, block_bytes);
    }
    for (const Route& route : plan_.routes) {
      if (route.first_placement < plan_.destination_count) continue;
      for (std::uint32_t i = 0; i < route.placement_count; ++i) {
        const std::uint32_t index = route.first_placement + i;
        plan_.placements[index].arena_offset = distances_[run_of_[index]].arena_offset_of(route.begin);
      }
    }
  }

  std::vector<ShardRange> take_in_place() && { return std::move(in_place_); }

 private:
  // Makes `run` longer by `next` if both can keep one distance.
  static bool join(Run& run, const Run& next) {
    if (!run.identity || !next.identity || run.direct != next.direct) return false;
    if (run.shard != next.shard || run.end != next.begin || (run.direct && run.group != next.group)) return false;
    const std::uint64_t both = std::min(run.modulus, next.modulus);
    if (((run.remainder ^ next.remainder) & (both - 1)) != 0) return false;
    if (next.modulus > run.modulus) {
      run.modulus = next.modulus;
      run.remainder = next.remainder;
    }
    run.end = next.end;
    run.bytes += next.bytes;
    return true;
  }

  // Gives the arena's open run its place behind what is there.
  void finish(ArenaFill& arena) {
    const Run& run = arena.run;
    if (run.bytes == 0) return;
    std::uint64_t modulus = run.modulus;
    const ShardRange blocks = {align_up(run.begin, block_bytes), align_down(run.end, block_bytes), run.shard};
    if (run.direct && blocks.end >= blocks.begin + limits::in_place_bytes_min) {
      modulus = block_bytes;  // the remainder of a direct run is 0 for every modulus that it accepts
      in_place_.push_back(blocks);
    }
    const std::uint64_t place = arena.bytes + ((run.begin + run.remainder - arena.bytes) & (modulus - 1));
    distances_[run.number] = Distance(run.begin, place);
    arena.bytes = place + run.bytes;
    arena.run = {};
  }

  PlanData& plan_;
  std::vector<ArenaFill> arenas_;    // by device
  BigVector<std::uint32_t> run_of_;  // by placement
  std::vector<Distance> distances_;  // by run
  std::vector<ShardRange> in_place_;
};

}  // namespace

std::vector<ShardRange> place(PlanData& plan) {
  Placer placer(plan);
  for (std::uint32_t i = 0; i < plan.destination_count; ++i) placer.add_destination(plan.placements[i]);
  const BigVector<Route>& routes = plan.routes;
  std::uint64_t end = 0;  // of what comes before in the shard
  for (std::size_t i = 0; i < routes.size(); ++i) {
    const Route& route = routes[i];
    if (i != 0 && routes[i - 1].shard != route.shard) end = 0;
    const bool last = i + 1 == routes.size() || routes[i + 1].shard != route.shard;
    const bool alone = end <= route.begin && (last || route.end <= routes[i + 1].begin);
    end = std::max(end, route.end);
    if (route.first_placement < plan.destination_count) continue;
    for (std::uint32_t j = 0; j < route.placement_count; ++j) placer.add(route, route.first_placement + j, alone);
  }
  placer.finish();
  return std::move(placer).take_in_place();
}

}  // namespace sluice
