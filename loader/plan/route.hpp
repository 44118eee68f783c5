// Route: which bytes of a tensor become which bytes of a placement: runs of bytes inside of loops.
//
//   for each index of the first loop, for each of the second, ...: a run, `run_bytes` long
//
// Loops are in the order of the shard: runs follow each other there and do not overlap. A tensor that is wanted whole
// is one run. Rows 0 to 63 of columns 8 to 15 of a BF16 matrix of 32 columns are 64 runs of 16 bytes, 64 bytes apart.
// Plain data; the functions are pure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "loader/base/limits.hpp"
#include "loader/plan/box.hpp"
#include "sluice/dtype.hpp"

namespace sluice {

/// Strides count bytes from one index to the next: source bytes in the tensor, delivered bytes in the placement.
struct Loop {
  std::uint64_t count = 0;
  std::uint64_t source_stride = 0;
  std::uint64_t target_stride = 0;
};

/// Where iteration `number` of some loops is, behind the first: the innermost loop turns fastest.
struct LoopPlace {
  std::uint64_t source = 0;
  std::uint64_t target = 0;
};
inline LoopPlace loop_place(std::span<const Loop> loops, std::uint64_t number) noexcept {
  LoopPlace place;
  for (std::size_t i = loops.size(); i-- > 0;) {
    const std::uint64_t index = number % loops[i].count;
    place.source += index * loops[i].source_stride;
    place.target += index * loops[i].target_stride;
    number /= loops[i].count;
  }
  return place;
}

/// How many iterations loops have.
inline std::uint64_t iterations_of(std::span<const Loop> loops) noexcept {
  std::uint64_t count = 1;
  for (const Loop& loop : loops) count *= loop.count;
  return count;
}

/// How a route goes that is not a whole tensor on its way to the beginning of a placement.
struct Path {
  std::uint64_t target = 0;      // in the placement, of the first run
  std::uint32_t first_loop = 0;  // in PlanData::loops
  std::uint32_t loop_count = 0;
};

struct Route {
  std::uint64_t begin = 0;  // in the shard, of the first run
  std::uint64_t end = 0;    // in the shard, behind the last
  std::uint32_t shard = 0;
  std::uint32_t tensor = 0;  // index into Catalogue::tensors
  std::uint32_t first_placement = 0;
  std::uint32_t group = 0;           // index into PlanCosts::groups
  std::uint32_t path = 0;            // 0: one run, to the placement's beginning; else PlanData::paths[path - 1]
  std::uint8_t placement_count = 0;  // neighbours, one device each, that get the same
  std::uint8_t unit_bytes = 1;  // extents may be cut at multiples of these from `begin`: an element where it is cast
  Dtype dtype = Dtype::u8;      // of the source
};
static_assert(sizeof(Route) == 40, "a plan has one per tensor, and writing them takes much of its time");
static_assert(limits::devices_max <= UINT8_MAX);

/// Source bytes of each run, at least one element: what is not between the runs.
inline std::uint64_t run_bytes_of(const Route& route, std::span<const Loop> loops) noexcept {
  std::uint64_t bytes = route.end - route.begin;
  for (const Loop& loop : loops) bytes -= (loop.count - 1) * loop.source_stride;
  return bytes;
}

/// The order of shard and offset.
inline bool comes_before(const Route& a, const Route& b) noexcept {
  return a.shard < b.shard || (a.shard == b.shard && a.begin < b.begin);
}

/// Bytes that `source_bytes` of dtype `from` fill as `to`. Whole elements of castable dtypes only, or `from` == `to`.
inline std::uint64_t delivered_bytes(std::uint64_t source_bytes, Dtype from, Dtype to) noexcept {
  return from == to ? source_bytes : source_bytes / (bits(from) / 8) * (bits(to) / 8);
}

/// The memory of a destination: its shape, and elements from one index to the next in each dimension.
struct Layout {
  std::span<const std::uint64_t> shape;
  std::span<const std::uint64_t> strides;  // empty: row-major without gaps
};

/// Runs inside of loops, like a route, but counted in elements.
struct ElementRoute {
  std::uint64_t source = 0;
  std::uint64_t target = 0;
  std::uint64_t run = 1;
  Few<Loop> loops;
};

/// Where the elements of a layout with strides lie, counted row-major.
class Places {
 public:
  /// REQUIRES: the layout has strides, and outlives this.
  explicit Places(const Layout& layout) noexcept;
  std::uint64_t of(std::uint64_t index) const noexcept;
  /// Elements that lie together, from each multiple of this on.
  std::uint64_t even() const noexcept { return even_; }

 private:
  const Layout& layout_;
  std::uint64_t even_ = 1;
};

/// How the elements of `from` go to those of `into`, a box of a placement that lies as `layout` says: nearly always by
/// one route; by none where the boxes are empty. Throws Error{invalid_argument} without a place where counts differ,
/// and Error{limit_exceeded} for what takes more routes than limits::routes_max.
std::vector<ElementRoute> routes_between(const Box& from, const Box& into, const Layout& layout);

/// A part of a route: `rows` runs, or one that is cut off at an end.
struct Rows {
  std::uint64_t source = 0;  // behind the route's begin
  std::uint64_t target = 0;  // in the placement
  std::uint64_t run_bytes = 0;
  std::uint64_t source_stride = 0;
  std::uint64_t target_stride = 0;
  std::uint32_t rows = 1;
};

/// Walks what a route brings out of a range of its tensor.
class RouteWalk {
 public:
  /// Of a route with `loops` that delivers its bytes as `to`, the first of them to `target`.
  RouteWalk(const Route& route, std::uint64_t target, std::span<const Loop> loops, Dtype to) noexcept
      : route_(route), target_(target), loops_(loops), run_bytes_(run_bytes_of(route, loops)), to_(to) {}

  /// Calls `take(Rows)` for what lies in the shard's bytes [begin, end), in their order: the
  /// end of a run that begins before them, rows, the beginning of a run that ends behind them.
  template <typename Take>
  void rows(std::uint64_t begin, std::uint64_t end, Take&& take) const;
  /// How many that are.
  std::uint64_t count(std::uint64_t begin, std::uint64_t end) const noexcept {
    if (!loops_.empty()) return count_in_loops(begin, end);
    return std::max(begin, route_.begin) < std::min(end, route_.end) ? 1 : 0;
  }

 private:
  // Runs, numbered in the order of the shard.
  struct Runs {
    std::uint64_t first = 0;
    std::uint64_t last = 0;           // behind the last
    std::uint64_t cut_off_first = 0;  // bytes of the first run that lie before the range
    std::uint64_t cut_off_last = 0;   // and of the last one behind it
  };
  Runs runs_in(std::uint64_t begin, std::uint64_t end) const noexcept;
  std::uint64_t count_in_loops(std::uint64_t begin, std::uint64_t end) const noexcept;
  // The number of the first run that ends behind `offset`, counted from the route's begin.
  std::uint64_t run_behind(std::uint64_t offset) const noexcept;
  // Where run `number` begins.
  Rows run_at(std::uint64_t number) const noexcept;
  // REQUIRES: there are loops.
  std::uint64_t row_count() const noexcept { return loops_.back().count; }

  const Route& route_;
  const std::uint64_t target_;
  const std::span<const Loop> loops_;
  const std::uint64_t run_bytes_;
  const Dtype to_;
};

template <typename Take>
void RouteWalk::rows(std::uint64_t begin, std::uint64_t end, Take&& take) const {
  if (loops_.empty()) {
    const std::uint64_t first = std::max(begin, route_.begin) - route_.begin;
    const std::uint64_t last = std::min(end, route_.end) - route_.begin;
    if (std::max(begin, route_.begin) >= std::min(end, route_.end)) return;
    Rows run;
    run.source = first;
    run.target = target_ + delivered_bytes(first, route_.dtype, to_);
    run.run_bytes = last - first;
    return take(run);
  }
  Runs runs = runs_in(begin, end);
  const auto take_cut = [&](std::uint64_t number, std::uint64_t skipped, std::uint64_t left_out) {
    Rows some = run_at(number);
    some.source += skipped;
    some.target += delivered_bytes(skipped, route_.dtype, to_);
    some.run_bytes = run_bytes_ - skipped - left_out;
    take(some);
  };
  if (runs.first == runs.last) return;
  if (runs.cut_off_first != 0) {
    const bool only = runs.last - runs.first == 1;
    take_cut(runs.first, runs.cut_off_first, only ? runs.cut_off_last : 0);
    if (only) return;
    ++runs.first;
  }
  const std::uint64_t whole = runs.last - (runs.cut_off_last != 0 ? 1 : 0);
  const std::uint64_t in_a_row = row_count();
  while (runs.first < whole) {
    Rows some = run_at(runs.first);
    some.run_bytes = run_bytes_;
    some.rows = static_cast<std::uint32_t>(std::min(in_a_row - runs.first % in_a_row, whole - runs.first));
    if (some.rows > 1) {
      some.source_stride = loops_.back().source_stride;
      some.target_stride = loops_.back().target_stride;
    }
    take(some);
    runs.first += some.rows;
  }
  if (runs.cut_off_last != 0) take_cut(runs.last - 1, 0, runs.cut_off_last);
}

}  // namespace sluice
