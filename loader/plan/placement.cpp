#include "loader/plan/placement.hpp"

#include <algorithm>
#include <bit>
#include <tuple>
#include <utility>

#include "loader/base/alignment.hpp"
#include "loader/base/limits.hpp"

namespace sluice {
namespace {

// What the arena offset of a placement is a multiple of, wherever it comes from.
std::uint64_t alignment_of(const PlanData& plan, const Placement& placement) {
  const std::uint64_t natural = natural_alignment(placement.dtype);
  if (plan.alignment_bytes != 0) return std::max<std::uint64_t>(plan.alignment_bytes, natural);
  if (placement.bytes >= limits::tensor_alignment_bytes) return limits::tensor_alignment_bytes;
  return std::max(std::bit_floor(placement.bytes), natural);
}

// The same where it is a run that begins at `begin` of the shard.
std::uint64_t alignment_in_run(const PlanData& plan, const Placement& placement, std::uint64_t begin) {
  if (plan.alignment_bytes != 0) return plan.alignment_bytes;
  const std::uint64_t alignment = alignment_of(plan, placement);
  if (begin % alignment == 0 || plan.devices[placement.device].kind != DeviceId::Kind::host) return alignment;
  // As it is in the shard, and no more: so that storage can be read straight into place.
  return std::max<std::uint64_t>(begin & -begin, natural_alignment(placement.dtype));
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

  // Whether it can go on with `route`, as it is in the shard, and keep one distance.
  bool takes(const Route& route, std::uint64_t alignment, std::uint64_t its_remainder) const {
    return identity && end == route.begin && shard == route.shard && (!direct || group == route.group) &&
           ((remainder ^ its_remainder) & (std::min(modulus, alignment) - 1)) == 0;
  }
};

// One device's arena as it fills.
struct ArenaFill {
  bool on_host = false;
  std::uint64_t bytes = 0;
  Run run;
  std::uint64_t piece_begin = 0;  // of the last piece; 0 without a budget
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
  explicit Placer(PlanData& plan) : plan_(plan), arenas_(plan.devices.size()) {
    for (std::size_t i = 0; i < arenas_.size(); ++i) arenas_[i].on_host = plan.devices[i].kind == DeviceId::Kind::host;
  }

  void add_destination(Placement& placement) {
    if (placement.region != 0 || placement.bytes == 0) return;
    ArenaFill& arena = arenas_[placement.device];
    make_room(arena, placement);
    finish(arena);
    placement.arena_offset = align_up(arena.bytes, alignment_of(plan_, placement));
    arena.bytes = placement.arena_offset + placement.bytes;
  }

  // `alone`: nothing else is wanted of the route's bytes. Until finish(), the number of the run stands for the offset.
  void add(const Route& route, std::uint32_t index, bool alone) {
    Placement& placement = plan_.placements[index];
    ArenaFill& arena = arenas_[placement.device];
    make_room(arena, placement);
    Run& run = arena.run;
    const bool identity = placement.dtype == route.dtype && plan_.is_one_run(route);
    // What writes elements gains nothing by their being misaligned.
    const std::uint64_t alignment =
        identity ? alignment_in_run(plan_, placement, route.begin) : alignment_of(plan_, placement);
    const std::uint64_t remainder = (0 - route.begin) & (alignment - 1);
    const bool direct = alone && arena.on_host && identity && remainder == 0 && route.placement_count == 1;
    if (!identity || direct != run.direct || !run.takes(route, alignment, remainder)) {
      finish(arena);
      run = {route.begin, route.end,     0,        alignment, remainder, route.shard,
             route.group, next_number(), identity, direct};
    }
    run.bytes += placement.bytes;
    run.end = route.end;
    if (alignment > run.modulus) {
      run.modulus = alignment;
      run.remainder = remainder;
    }
    placement.arena_offset = run.number;
  }

  // Gives the open runs their places, and the placements their offsets.
  void finish() {
    for (std::size_t i = 0; i < arenas_.size(); ++i) {
      finish(arenas_[i]);
      if (plan_.budget_bytes != 0) end_piece(arenas_[i], i);
      plan_.costs.devices[i].arena_bytes = align_up(arenas_[i].bytes, block_bytes);
    }
    std::sort(plan_.pieces.begin(), plan_.pieces.end(), [](const ArenaPiece& a, const ArenaPiece& b) {
      return std::tie(a.device, a.offset) < std::tie(b.device, b.offset);
    });
    for (const Route& route : plan_.routes) {
      if (route.first_placement < plan_.destination_count) continue;
      for (std::uint32_t i = 0; i < route.placement_count; ++i) {
        std::uint64_t& offset = plan_.placements[route.first_placement + i].arena_offset;
        offset = distances_[offset].arena_offset_of(route.begin);
      }
    }
  }

  std::vector<ShardRange> take_in_place() && {
    std::sort(in_place_.begin(), in_place_.end(), [](const ShardRange& a, const ShardRange& b) {
      return std::tie(a.shard, a.begin) < std::tie(b.shard, b.begin);
    });
    return std::move(in_place_);
  }

 private:
  std::uint32_t next_number() {
    distances_.emplace_back();
    return static_cast<std::uint32_t>(distances_.size() - 1);
  }

  // With a budget, begins a new piece where the last one has no room for a placement.
  void make_room(ArenaFill& arena, const Placement& placement) {
    if (plan_.budget_bytes == 0 || placement.bytes == 0) return;
    constexpr std::uint64_t gaps = 2 * block_bytes;  // that alignment needs before the open run, and behind it
    const std::uint64_t used = arena.bytes - arena.piece_begin + arena.run.bytes;
    if (used == 0 || used + gaps + placement.bytes <= plan_.piece_bytes) return;
    finish(arena);
    end_piece(arena, placement.device);
  }

  void end_piece(ArenaFill& arena, std::size_t device) {
    const std::uint64_t end = align_up(arena.bytes, limits::piece_bytes_unit);
    if (end == arena.piece_begin) return;
    ArenaPiece& piece = plan_.pieces.emplace_back();
    piece.offset = arena.piece_begin;
    piece.bytes = end - arena.piece_begin;
    piece.device = static_cast<std::uint8_t>(device);
    arena.bytes = arena.piece_begin = end;
  }

  // Gives the arena's open run its place behind what is there.
  void finish(ArenaFill& arena) {
    const Run run = std::exchange(arena.run, Run());
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
  }

  PlanData& plan_;
  std::vector<ArenaFill> arenas_;    // by device
  std::vector<Distance> distances_;  // by run
  std::vector<ShardRange> in_place_;
};

// Calls `take(index, alone)` for each route, in the order of files. `alone`: no other route wants any of its bytes.
template <typename Take>
void for_each_route(const PlanData& plan, Take&& take) {
  const BigVector<Route>& routes = plan.routes;
  std::uint64_t end = 0;  // of what comes before in the shard
  std::uint32_t shard = 0;
  for (std::size_t i = 0; i < routes.size(); ++i) {
    const Route& route = routes[i];
    if (route.shard != shard) end = 0;
    shard = route.shard;
    const bool overlapped = i + 1 < routes.size() && routes[i + 1].begin < route.end && routes[i + 1].shard == shard;
    const bool alone = end <= route.begin && !overlapped;
    end = std::max(end, route.end);
    take(i, alone);
  }
}

void place_in_order_of_files(PlanData& plan, Placer& placer) {
  for (std::uint32_t i = 0; i < plan.destination_count; ++i) placer.add_destination(plan.placements[i]);
  for_each_route(plan, [&](std::size_t index, bool alone) {
    const Route& route = plan.routes[index];
    if (route.first_placement < plan.destination_count) return;
    for (std::uint32_t j = 0; j < route.placement_count; ++j) placer.add(route, route.first_placement + j, alone);
  });
}

// With a budget, what is read together lies together, destinations among what they are made of.
void place_in_order_of_reading(PlanData& plan, Placer& placer) {
  struct Step {
    std::size_t route;
    bool alone;
  };
  std::vector<Step> steps;
  for_each_route(plan, [&](std::size_t index, bool alone) { steps.push_back({index, alone}); });
  std::stable_sort(steps.begin(), steps.end(), [&](const Step& a, const Step& b) {
    return plan.routes[a.route].group < plan.routes[b.route].group;
  });
  std::vector<bool> is_placed(plan.destination_count);
  const auto add_destination = [&](std::uint32_t index) {
    if (!is_placed[index]) placer.add_destination(plan.placements[index]);
    is_placed[index] = true;
  };
  for (const Step& step : steps) {
    const Route& route = plan.routes[step.route];
    for (std::uint32_t i = route.first_placement; i < route.first_placement + route.placement_count; ++i) {
      if (i < plan.destination_count) {
        add_destination(i);
      } else {
        placer.add(route, i, step.alone);
      }
    }
  }
  for (std::uint32_t i = 0; i < plan.destination_count; ++i) add_destination(i);  // that nothing is read for
}

}  // namespace

std::vector<ShardRange> place(PlanData& plan) {
  Placer placer(plan);
  if (plan.budget_bytes != 0) {
    place_in_order_of_reading(plan, placer);
  } else {
    place_in_order_of_files(plan, placer);
  }
  placer.finish();
  return std::move(placer).take_in_place();
}

}  // namespace sluice
