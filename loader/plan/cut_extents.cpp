#include "loader/plan/cut_extents.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "loader/base/alignment.hpp"
#include "loader/base/limits.hpp"
#include "loader/plan/kernel_table.hpp"
#include "loader/plan/make_part.hpp"
#include "loader/plan/reading_order.hpp"

namespace sluice {
namespace {

// What will be read of a shard without a break: staged, or straight into place. Begins and ends with a block, or the
// file.
struct ReadRange : ShardRange {
  bool in_place = false;
  std::uint32_t group = 0;
  std::uint64_t wanted_end = 0;  // without what its last block adds
};

// Gathers ranges in file order. A block that several groups want is read with the first of them.
class Gatherer {
 public:
  Gatherer(const PlanData& plan, const std::vector<ShardRange>& in_place)
      : shards_(plan.catalogue->shards), in_place_(in_place), has_budget_(plan.budget_bytes != 0) {}

  // Adds a wanted range, behind those that were added before: part of it to be staged, part read in place.
  void add(ShardRange range, std::uint32_t group) {
    while (range.begin < range.end) {
      while (next_ < in_place_.size() && is_before(in_place_[next_], range)) ++next_;
      const bool meets = next_ < in_place_.size() && in_place_[next_].shard == range.shard;
      ShardRange part = range;
      if (meets && in_place_[next_].begin <= range.begin) {
        part.end = std::min(range.end, in_place_[next_].end);
        add_in_place(in_place_[next_], group);
      } else {
        if (meets) part.end = std::min(range.end, in_place_[next_].begin);
        add_staged(part, group);
      }
      range.begin = part.end;
    }
  }

  std::vector<ReadRange> take() && { return std::move(ranges_); }

 private:
  static bool is_before(const ShardRange& range, const ShardRange& other) {
    return range.shard < other.shard || (range.shard == other.shard && range.end <= other.begin);
  }

  // Every tensor of a run asks for the run's range: the first one gets it.
  void add_in_place(const ShardRange& range, std::uint32_t group) {
    if (!ranges_.empty()) {
      const ReadRange& last = ranges_.back();
      if (last.in_place && last.shard == range.shard && last.end == range.end) return;
    }
    ranges_.push_back({range, true, group, range.end});
  }

  void add_staged(const ShardRange& part, std::uint32_t group) {
    std::uint64_t begin = align_down(part.begin, block_bytes);
    const std::uint64_t end = std::min(align_up(part.end, block_bytes), shards_[part.shard].bytes);
    if (ReadRange* const near = near_range(part.shard, begin, group)) {
      ranges_.resize(static_cast<std::size_t>(near - ranges_.data()) + 1);  // what lies between is read along
      near->end = std::max(near->end, end);
      near->wanted_end = std::max(near->wanted_end, part.end);
      return;
    }
    if (has_budget_ && parts_block(part, begin)) {
      ranges_.back().end = part.begin;
      ranges_.push_back({{part.begin, end, part.shard}, false, group, part.end});
      return;
    }
    // The block that it shares with a later group's range; an earlier group's keeps it.
    while (!ranges_.empty() && ranges_.back().shard == part.shard && ranges_.back().end > begin) {
      ReadRange& last = ranges_.back();
      if (last.in_place || last.group < group) {
        begin = last.end;
      } else {
        last.end = std::max(begin, last.begin);
        if (last.begin >= last.end) ranges_.pop_back();
      }
    }
    if (begin < end) ranges_.push_back({{begin, end, part.shard}, false, group, part.end});
  }

  // Whether the last range, of another group, needs only what of its last block comes before `part`, which begins in
  // that block: with a budget each reads its own, lest memory for one have to be there early.
  bool parts_block(const ShardRange& part, std::uint64_t begin) const {
    if (ranges_.empty()) return false;
    const ReadRange& last = ranges_.back();
    return !last.in_place && last.shard == part.shard && last.end > begin && last.wanted_end <= part.begin;
  }

  // The group's last range, if it ends close enough before `begin`, with nothing but later groups' between. With a
  // budget with nothing between: memory for later groups would have to be there early.
  ReadRange* near_range(std::uint32_t shard, std::uint64_t begin, std::uint32_t group) {
    for (std::size_t i = ranges_.size(); i-- > 0;) {
      ReadRange& range = ranges_[i];
      if (range.in_place || range.shard != shard || range.group < group) return nullptr;
      if (range.group == group) return begin <= range.end + limits::gap_bytes_max ? &range : nullptr;
      if (has_budget_) return nullptr;
      if (range.begin + limits::gap_bytes_max < begin) return nullptr;
    }
    return nullptr;
  }

  const std::vector<Shard>& shards_;
  const std::vector<ShardRange>& in_place_;
  const bool has_budget_;
  std::size_t next_ = 0;  // of in_place_: the first that does not end before what is added
  std::vector<ReadRange> ranges_;
};

// Feeds the ranges that routes want to a gatherer, in file order.
class WantedRanges {
 public:
  WantedRanges(const PlanData& plan, Gatherer& gatherer) : plan_(plan), gatherer_(gatherer) {}

  void gather() && {
    const std::span<const Route> routes = plan_.routes;
    for (std::size_t i = 0; i < routes.size();) {
      const Route& route = routes[i];
      if (!pending_.empty() && (route.shard != shard_ || route.begin >= end_)) flush();
      if (pending_.empty()) {
        if (const std::size_t count = neighbours(routes.subspan(i)); count != 0) {
          gatherer_.add({route.begin, routes[i + count - 1].end, route.shard}, route.group);
          i += count;
          continue;
        }
      }
      shard_ = route.shard;
      end_ = pending_.empty() ? route.end : std::max(end_, route.end);
      add(route);
      ++i;
    }
    flush();
  }

 private:
  struct Range {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    std::uint32_t group = 0;
  };

  // How many routes, from the first on, take one range of one group without a break, and nothing else takes any of it.
  std::size_t neighbours(std::span<const Route> routes) const {
    const Route& first = routes.front();
    for (std::size_t i = 0;; ++i) {
      const Route& route = routes[i];
      const bool is_last = i + 1 == routes.size() || routes[i + 1].shard != first.shard;
      // A route that the next one overlaps, or that takes no range, is the caller's to look at.
      if (!plan_.is_one_run(route) || (!is_last && routes[i + 1].begin < route.end)) return i;
      if (is_last || routes[i + 1].begin != route.end || routes[i + 1].group != first.group) return i + 1;
    }
  }

  // The runs of the route, those close to each other in one range.
  void add(const Route& route) {
    const std::span<const Loop> loops = plan_.loops_of(route);
    std::size_t outer = loops.size();  // loops whose iterations lie too far apart
    std::uint64_t span = run_bytes_of(route, loops);
    while (outer > 0 && loops[outer - 1].source_stride <= span + limits::gap_bytes_max) {
      --outer;
      span += (loops[outer].count - 1) * loops[outer].source_stride;
    }
    const std::span<const Loop> apart = loops.first(outer);
    const std::uint64_t count = iterations_of(apart);
    for (std::uint64_t number = 0; number < count; ++number) {
      const std::uint64_t begin = route.begin + loop_place(apart, number).source;
      pending_.push_back({begin, begin + span, route.group});
    }
  }

  // Where groups overlap, the first of them gets the range.
  void flush() {
    std::sort(pending_.begin(), pending_.end(),
              [](const Range& a, const Range& b) { return std::tie(a.begin, a.group) < std::tie(b.begin, b.group); });
    for (std::size_t i = 0; i < pending_.size();) {
      Range all = pending_[i++];
      while (i < pending_.size() && pending_[i].begin < all.end) {
        all.end = std::max(all.end, pending_[i].end);
        all.group = std::min(all.group, pending_[i++].group);
      }
      gatherer_.add({all.begin, all.end, shard_}, all.group);
    }
    pending_.clear();
  }

  const PlanData& plan_;
  Gatherer& gatherer_;
  std::vector<Range> pending_;  // of routes that overlap, of one shard
  std::uint32_t shard_ = 0;
  std::uint64_t end_ = 0;  // of the pending routes
};

constexpr std::uint64_t unbounded = std::numeric_limits<std::uint64_t>::max();

// What one extent may hold.
struct ExtentBounds {
  std::uint64_t bytes;
  std::uint64_t deliveries;
};

// Where there is a CUDA device, a sixteenth of each slab is left to the tables of deliveries.
ExtentBounds bounds_of(const PlanData& plan) {
  constexpr std::uint64_t share = 16;
  static_assert(limits::slab_bytes_unit / share % block_bytes == 0);
  static_assert(limits::slab_bytes_unit / share >= limits::devices_max * table_entry_bytes,
                "a tensor for every device");
  // With a budget an extent must not take many pieces to be delivered: they are all under way together.
  const std::uint64_t bytes =
      plan.budget_bytes == 0 ? plan.slab_bytes : std::min(plan.slab_bytes, plan.piece_bytes / 2);
  const bool tables = std::any_of(plan.devices.begin(), plan.devices.end(),
                                  [](DeviceId device) { return device.kind == DeviceId::Kind::cuda; });
  if (!tables) return {bytes, unbounded};
  const std::uint64_t table_bytes = plan.slab_bytes / share;
  return {std::min(bytes, plan.slab_bytes - table_bytes), table_bytes / table_entry_bytes};
}

// A place in the routes that only moves forward.
class Cursor {
 public:
  explicit Cursor(std::span<const Route> routes) : rest_(routes) {}

  void skip_to(std::uint32_t shard, std::uint64_t offset) {
    while (!rest_.empty() &&
           (rest_.front().shard < shard || (rest_.front().shard == shard && rest_.front().end <= offset))) {
      rest_ = rest_.subspan(1);
    }
  }
  /// All from here on.
  std::span<const Route> rest() const { return rest_; }
  /// Those of them that begin before `end` of the shard. Where routes overlap, some may end before the place.
  std::span<const Route> met(std::uint32_t shard, std::uint64_t end) const {
    const auto is_met = [&](const Route& route) { return route.shard == shard && route.begin < end; };
    // They are few among many: the search goes as far as they do.
    std::size_t bound = 1;
    while (bound < rest_.size() && is_met(rest_[bound])) bound *= 2;
    const auto last =
        std::partition_point(rest_.begin() + static_cast<std::ptrdiff_t>(bound / 2),
                             rest_.begin() + static_cast<std::ptrdiff_t>(std::min(bound, rest_.size())), is_met);
    return rest_.first(static_cast<std::size_t>(last - rest_.begin()));
  }

 private:
  std::span<const Route> rest_;
};

// Where extents end with a tensor, and not with a block, so that they need no memory of what comes behind: at both ends
// of what has a piece of its own, and where groups meet. Without a budget there are none.
class Borders {
 public:
  explicit Borders(const PlanData& plan) {
    if (plan.budget_bytes == 0) return;
    for (const Route& route : plan.routes) {
      for (std::uint32_t i = 0; i < route.placement_count; ++i) {
        const Placement& placement = plan.placements[route.first_placement + i];
        if (placement.region != 0 || placement.bytes <= plan.piece_bytes) continue;
        places_.emplace_back(route.shard, route.begin);
        places_.emplace_back(route.shard, route.end);
        break;
      }
    }
  }

  void add(std::uint32_t shard, std::uint64_t offset) { places_.emplace_back(shard, offset); }
  void sort() { std::sort(places_.begin(), places_.end()); }

  // The first place behind `begin` and before `end` where an extent must end: a border, or an end of the block that it
  // lies in, so that no more than that block is read through the page cache; else `end`.
  std::uint64_t next_cut(std::uint32_t shard, std::uint64_t begin, std::uint64_t end) const {
    const std::uint64_t block = align_down(begin, block_bytes);
    auto at = std::lower_bound(places_.begin(), places_.end(), std::pair(shard, block));
    for (; at != places_.end() && at->first == shard && align_down(at->second, block_bytes) < end; ++at) {
      for (const std::uint64_t cut :
           {align_down(at->second, block_bytes), at->second, align_up(at->second, block_bytes)}) {
        if (cut > begin) return std::min(cut, end);
      }
    }
    return end;
  }

 private:
  std::vector<std::pair<std::uint32_t, std::uint64_t>> places_;  // shard and offset
};

// Fills extents with parts, and parts with deliveries.
class Filler {
 public:
  explicit Filler(PlanData& plan) : plan_(plan), next_(plan.devices.size()) {}

  // What of `extent` belongs to the first of `routes`, some of which may end before it: one part per device, in each
  // its deliveries by source offset.
  void fill(Extent& extent, std::span<const Route> routes) {
    extent.first_part = static_cast<std::uint32_t>(plan_.parts.size());
    const auto first = static_cast<std::uint32_t>(plan_.deliveries.size());
    const std::uint64_t end = extent.offset + extent.bytes;
    std::fill(next_.begin(), next_.end(), 0);
    bool in_order = true;
    std::size_t met = 0;
    for (; met < routes.size() && routes[met].shard == extent.shard && routes[met].begin < end; ++met) {
      const Route& route = routes[met];
      if (route.end <= extent.offset) continue;
      in_order = in_order && plan_.is_one_run(route);
      const auto count = plan_.is_one_run(route)
                             ? 1
                             : static_cast<std::uint32_t>(plan_.walk(route, route.dtype).count(extent.offset, end));
      for (std::uint32_t i = 0; i < route.placement_count; ++i) next_[device_of(route, i)] += count;
    }
    std::uint32_t place = first;
    for (std::uint32_t& next : next_) place += std::exchange(next, place);
    plan_.deliveries.resize(place);
    for (const Route& route : routes.first(met)) {
      if (route.end <= extent.offset) continue;
      for (std::uint32_t i = 0; i < route.placement_count; ++i) deliver(extent, route, route.first_placement + i);
    }
    std::uint32_t begin = first;
    for (std::size_t device = 0; device < next_.size(); ++device) {
      const DeliveryRange mine{begin, next_[device] - begin};
      if (mine.count != 0) add_part(extent, static_cast<std::uint8_t>(device), mine, begin - first, in_order);
      begin = next_[device];
    }
    extent.part_count = static_cast<std::uint8_t>(plan_.parts.size() - extent.first_part);
  }

 private:
  std::uint8_t device_of(const Route& route, std::uint32_t placement) const {
    return plan_.placements[route.first_placement + placement].device;
  }

  void add_part(const Extent& extent, std::uint8_t device, DeliveryRange mine, std::uint32_t before, bool in_order) {
    const std::span<Delivery> deliveries = std::span(plan_.deliveries).subspan(mine.first, mine.count);
    const auto by_source = [](const Delivery& a, const Delivery& b) { return a.source_offset < b.source_offset; };
    if (!in_order && !std::is_sorted(deliveries.begin(), deliveries.end(), by_source)) {
      std::stable_sort(deliveries.begin(), deliveries.end(), by_source);
    }
    plan_.parts.push_back(make_part(plan_, extent, device, mine, before));
  }

  // What of the extent the route brings to one of its placements.
  void deliver(const Extent& extent, const Route& route, std::uint32_t index) {
    Placement& placement = plan_.placements[index];
    std::uint32_t& next = next_[placement.device];
    plan_.walk(route, placement.dtype).rows(extent.offset, extent.offset + extent.bytes, [&](const Rows& rows) {
      Delivery& delivery = plan_.deliveries[next++];
      delivery.target_offset = placement.arena_offset + rows.target;
      delivery.source_offset = static_cast<std::uint32_t>(route.begin + rows.source - extent.offset);
      delivery.run_bytes = static_cast<std::uint32_t>(rows.run_bytes);
      delivery.rows = rows.rows;
      delivery.source_stride = rows.rows > 1 ? static_cast<std::uint32_t>(rows.source_stride) : delivery.run_bytes;
      delivery.target_stride =
          rows.rows > 1 ? rows.target_stride : delivered_bytes(rows.run_bytes, route.dtype, placement.dtype);
      delivery.placement = index;
      delivery.source_dtype = route.dtype;
      ++placement.deliveries;
    });
  }

  PlanData& plan_;
  std::vector<std::uint32_t> next_;  // by device, where the extent's next delivery goes
};

// Cuts ranges into extents.
class Cutter {
 public:
  explicit Cutter(PlanData& plan) : plan_(plan), filler_(plan), bounds_(bounds_of(plan)), borders_(plan) {}

  void cut(std::vector<ReadRange> ranges) {
    if (plan_.budget_bytes != 0) find_borders(ranges);
    reserve(ranges);
    Cursor cursor(plan_.routes);
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      ReadRange& range = ranges[i];
      cursor.skip_to(range.shard, range.begin);
      if (i + 1 < ranges.size()) settle_border(range, ranges[i + 1], cursor);
      for (std::uint64_t begin = range.begin; begin < range.end;) {
        const std::uint64_t end = next_cut(range, begin, cursor);
        add(range, begin, end, cursor);
        begin = end;
      }
    }
  }

 private:
  void reserve(const std::vector<ReadRange>& ranges) {
    std::uint64_t count = 0;
    // An extent is a slab, but for less than a block where elements straddle blocks: this reserves enough, nearly
    // always.
    for (const ReadRange& range : ranges) count += (range.end - range.begin) / bounds_.bytes + 1;
    plan_.extents.reserve(count);
    plan_.parts.reserve(count * plan_.devices.size());
    // A cut makes one more delivery of the route that it meets, on each of its devices.
    plan_.deliveries.reserve(plan_.placements.size() + count * plan_.devices.size());
  }

  void add(const ReadRange& range, std::uint64_t begin, std::uint64_t end, const Cursor& cursor) {
    Extent& extent = plan_.extents.emplace_back();
    extent.offset = begin;
    extent.bytes = static_cast<std::uint32_t>(end - begin);
    extent.shard = range.shard;
    extent.group = range.group;
    extent.in_place = range.in_place;
    extent.aligned =
        begin % block_bytes == 0 && (end % block_bytes == 0 || end == plan_.catalogue->shards[range.shard].bytes);
    filler_.fill(extent, cursor.rest());
    // A gap that was to be read along, but fills an extent of its own.
    if (extent.part_count == 0) plan_.extents.pop_back();
  }

  void find_borders(const std::vector<ReadRange>& ranges) {
    for (const ReadRange& range : ranges) {
      if (range.begin % block_bytes != 0) borders_.add(range.shard, range.begin);
    }
    borders_.sort();
  }

  // Two groups' ranges that touch meet between elements.
  static void settle_border(ReadRange& range, ReadRange& next, const Cursor& cursor) {
    if (range.in_place || next.in_place || range.shard != next.shard || range.end != next.begin) return;
    range.end = next.begin = between_elements(range.end, cursor.met(range.shard, range.end));
  }

  // Where `range` is cut next, behind `begin`: at a block, unless that would split an element of a cast tensor.
  std::uint64_t next_cut(const ReadRange& range, std::uint64_t begin, Cursor& cursor) const {
    std::uint64_t cut = range.end;
    if (range.end - begin > bounds_.bytes) cut = align_down(begin + bounds_.bytes, block_bytes);
    cut = borders_.next_cut(range.shard, begin, cut);
    cursor.skip_to(range.shard, begin);
    if (bounds_.deliveries != unbounded) cut = cut_by_deliveries(begin, cut, cursor.met(range.shard, cut));
    if (cut == range.end) return cut;
    return between_elements(cut, cursor.met(range.shard, cut));
  }

  // `cut`, or the end of the element before it that it would split. All elements that are cast of a tensor begin at
  // multiples of its unit from each other.
  static std::uint64_t between_elements(std::uint64_t cut, std::span<const Route> met) {
    for (auto route = met.rbegin(); route != met.rend(); ++route) {
      if (route->end > cut && route->unit_bytes > 1) return cut - (cut - route->begin) % route->unit_bytes;
    }
    return cut;
  }

  // Where an extent ends that begins at `begin` and meets `routes`, whose deliveries must fit its table; no further
  // than `cut`. At a block, unless even one block's deliveries are too many.
  std::uint64_t cut_by_deliveries(std::uint64_t begin, std::uint64_t cut, std::span<const Route> routes) const {
    if (fit_easily(routes) || deliveries_in(begin, cut, routes) <= bounds_.deliveries) return cut;
    // The deliveries grow with the cut: the last one that will do is between these.
    const auto last = [&](std::uint64_t good, std::uint64_t bad, std::uint64_t step) {
      while (bad - good > step) {
        const std::uint64_t middle = good + (bad - good) / 2 / step * step;
        (deliveries_in(begin, middle, routes) <= bounds_.deliveries ? good : bad) = middle;
      }
      return good;
    };
    // Moved before an element that it would split, the cut must still be behind `begin`.
    constexpr std::uint64_t element_bytes_max = 8;
    const std::uint64_t first_block = align_down(begin, block_bytes);
    const std::uint64_t block = last(first_block, align_up(cut, block_bytes), block_bytes);
    if (block >= begin + element_bytes_max) return std::min(block, cut);
    const std::uint64_t byte = last(begin, std::min(cut, begin + block_bytes), 1);
    if (between_elements(byte, routes) > begin) return byte;
    throw Error(ErrorCode::limit_exceeded, fmt::format("one element goes to more than {} places", bounds_.deliveries),
                {plan_.catalogue->shards[routes.front().shard].path.string(), begin, {}}, "raise slab_bytes");
  }

  // Without a look at what each brings: one delivery at most, where there are no loops.
  bool fit_easily(std::span<const Route> routes) const {
    std::uint64_t count = 0;
    for (const Route& route : routes) count += route.placement_count;
    return plan_.loops.empty() && count <= bounds_.deliveries;
  }

  std::uint64_t deliveries_in(std::uint64_t begin, std::uint64_t end, std::span<const Route> routes) const {
    std::uint64_t count = 0;
    for (const Route& route : routes) {
      count += plan_.walk(route, route.dtype).count(begin, end) * route.placement_count;
    }
    return count;
  }

  PlanData& plan_;
  Filler filler_;
  const ExtentBounds bounds_;
  Borders borders_;
};

}  // namespace

void cut_extents(PlanData& plan, const std::vector<ShardRange>& in_place) {
  Gatherer gatherer(plan, in_place);
  WantedRanges(plan, gatherer).gather();
  Cutter(plan).cut(std::move(gatherer).take());
  sort_for_reading(plan);
}

}  // namespace sluice
