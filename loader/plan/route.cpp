#include "loader/plan/route.hpp"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "loader/base/limits.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

using Strides = Few<std::uint64_t>;

Strides dense_strides(std::span<const std::uint64_t> shape) {
  Strides strides{shape};
  std::uint64_t stride = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= std::max<std::uint64_t>(shape[i], 1);
  }
  return strides;
}

// The strides by which memory of `layout` is seen with another shape of as many elements, where strides can say it.
std::optional<Strides> seen_strides(const Layout& layout, std::span<const std::uint64_t> seen) {
  if (layout.strides.empty() || elements_of(seen) == 0) return dense_strides(seen);
  Strides strides{seen};
  // Dimensions of both that hold as many elements belong together; within such a piece memory must be even.
  std::size_t left = seen.size();
  for (std::size_t i = layout.shape.size(); i > 0;) {
    std::uint64_t elements = 1;
    std::uint64_t innermost = 1;
    while (i > 0 && (layout.shape[i - 1] == 1 || elements == 1 || layout.strides[i - 1] == elements * innermost)) {
      --i;
      if (elements == 1) innermost = layout.strides[i];
      elements *= layout.shape[i];
    }
    std::uint64_t covered = 1;
    while (left > 0 && (covered < elements || seen[left - 1] == 1)) {
      strides[--left] = covered * innermost;
      covered *= seen[left];
    }
    if (covered != elements) return std::nullopt;
  }
  return strides;
}

// The loops over a box, in the order in which its dimensions count; those of one index aside.
struct BoxLoops {
  Few<std::uint64_t> counts;
  Few<std::uint64_t> strides;
  std::uint64_t begin = 0;
};

BoxLoops loops_of(const Box& box, const Strides& strides) {
  BoxLoops loops;
  for (const unsigned dimension : box.order) {
    loops.begin += box.begin[dimension] * strides[dimension];
    if (box.count[dimension] == 1) continue;
    loops.counts.push_back(box.count[dimension]);
    loops.strides.push_back(strides[dimension]);
  }
  return loops;
}

// In the order of the source, neighbouring loops that walk evenly through both sides made one, and the innermost a run
// where it is one on both sides.
ElementRoute canonical(const BoxLoops& from, const BoxLoops& into) {
  Few<Loop> loops;
  for (std::size_t i = 0; i < from.counts.size(); ++i) {
    loops.push_back({from.counts[i], from.strides[i], into.strides[i]});
  }
  // They are few, and mostly in order.
  for (std::size_t i = 1; i < loops.size(); ++i) {
    for (std::size_t j = i; j > 0 && loops[j - 1].source_stride < loops[j].source_stride; --j) {
      std::swap(loops[j - 1], loops[j]);
    }
  }
  std::size_t count = 0;  // of what is left once they are merged
  for (const Loop& loop : loops) {
    Loop* const outer = count == 0 ? nullptr : &loops[count - 1];
    if (outer != nullptr && outer->source_stride == loop.count * loop.source_stride &&
        outer->target_stride == loop.count * loop.target_stride) {
      *outer = {outer->count * loop.count, loop.source_stride, loop.target_stride};
    } else {
      loops[count++] = loop;
    }
  }
  ElementRoute route;
  route.source = from.begin;
  route.target = into.begin;
  if (count > 0 && loops[count - 1].source_stride == 1 && loops[count - 1].target_stride == 1) {
    route.run = loops[--count].count;
  }
  route.loops = Few<Loop>(loops.all().first(count));
  return route;
}

// A route that was made for memory without gaps, run by run to where the gaps leave it.
std::vector<ElementRoute> spread(const ElementRoute& dense, const Layout& layout) {
  const Places places(layout);
  const std::uint64_t runs = iterations_of(dense.loops.all());
  std::vector<ElementRoute> routes;
  for (std::uint64_t number = 0; number < runs; ++number) {
    const LoopPlace place = loop_place(dense.loops.all(), number);
    const std::uint64_t source = dense.source + place.source;
    const std::uint64_t target = dense.target + place.target;
    for (std::uint64_t done = 0; done < dense.run;) {
      if (routes.size() == limits::routes_max) {
        throw Error(ErrorCode::limit_exceeded,
                    fmt::format("a slice of memory with strides falls into more than {} pieces", limits::routes_max),
                    {}, "cut the destination in its own shape");
      }
      ElementRoute& route = routes.emplace_back();
      route.source = source + done;
      route.target = places.of(target + done);
      route.run = std::min(dense.run - done, places.even() - (target + done) % places.even());
      done += route.run;
    }
  }
  return routes;
}

}  // namespace

Places::Places(const Layout& layout) noexcept : layout_(layout) {
  std::size_t i = layout.shape.size();
  while (i > 0 && (layout.shape[i - 1] == 1 || layout.strides[i - 1] == even_)) even_ *= layout.shape[--i];
}

std::uint64_t Places::of(std::uint64_t index) const noexcept {
  std::uint64_t place = 0;
  for (std::size_t i = layout_.shape.size(); i-- > 0;) {
    place += index % layout_.shape[i] * layout_.strides[i];
    index /= layout_.shape[i];
  }
  return place;
}

std::vector<ElementRoute> routes_between(const Box& from, const Box& into, const Layout& layout) {
  const BoxLoops source = loops_of(from, dense_strides(from.shape.all()));
  const std::optional<Strides> strides = seen_strides(layout, into.shape.all());
  const BoxLoops target = loops_of(into, strides ? *strides : dense_strides(into.shape.all()));
  if (!(source.counts == target.counts)) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("counts differ: {} of {} go to {} of {}", text_of_shape(counts_of(from).all()),
                            text_of_shape(from.shape.all()), text_of_shape(counts_of(into).all()),
                            text_of_shape(into.shape.all())),
                {}, "both slices must have the same counts in the same order, but for dimensions of one element");
  }
  if (from.elements() == 0) return {};
  const ElementRoute route = canonical(source, target);
  if (!strides) return spread(route, layout);
  return {route};
}

std::uint64_t RouteWalk::run_behind(std::uint64_t offset) const noexcept {
  std::uint64_t number = 0;
  for (const Loop& loop : loops_) {
    const std::uint64_t index = std::min(offset / loop.source_stride, loop.count - 1);
    number = number * loop.count + index;
    offset -= index * loop.source_stride;
  }
  return number + (offset >= run_bytes_ ? 1 : 0);
}

Rows RouteWalk::run_at(std::uint64_t number) const noexcept {
  const LoopPlace place = loop_place(loops_, number);
  Rows run;
  run.source = place.source;
  run.target = target_ + place.target;
  return run;
}

RouteWalk::Runs RouteWalk::runs_in(std::uint64_t begin, std::uint64_t end) const noexcept {
  Runs runs;
  begin = std::max(begin, route_.begin);
  end = std::min(end, route_.end);
  if (begin >= end) return runs;
  begin -= route_.begin;
  end -= route_.begin;
  runs.first = run_behind(begin);
  // The run that holds byte end - 1, or else the last one before it.
  runs.last = run_behind(end - 1);
  if (runs.last < iterations_of(loops_) && run_at(runs.last).source < end) ++runs.last;
  if (runs.first >= runs.last) return {};
  const std::uint64_t first_begin = run_at(runs.first).source;
  if (begin > first_begin) runs.cut_off_first = begin - first_begin;
  const std::uint64_t last_end = run_at(runs.last - 1).source + run_bytes_;
  if (last_end > end) runs.cut_off_last = last_end - end;
  return runs;
}

std::uint64_t RouteWalk::count_in_loops(std::uint64_t begin, std::uint64_t end) const noexcept {
  Runs runs = runs_in(begin, end);
  if (runs.first == runs.last) return 0;
  std::uint64_t count = 0;
  if (runs.cut_off_first != 0) {
    ++count;
    ++runs.first;
  }
  if (runs.cut_off_last != 0 && runs.first < runs.last) {
    ++count;
    --runs.last;
  }
  if (runs.first == runs.last) return count;
  return count + (runs.last - 1) / row_count() - runs.first / row_count() + 1;
}

}  // namespace sluice
