#include "loader/plan/cut_extents.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <span>
#include <utility>

#include "loader/base/alignment.hpp"
#include "loader/base/limits.hpp"
#include "loader/plan/kernel_table.hpp"
#include "loader/plan/make_part.hpp"

namespace sluice {
namespace {

// What will be read of a shard without a break: staged, or straight into place. Begins and ends with a block, or the
// file.
struct ReadRange : ShardRange {
  bool in_place = false;
};

class Gatherer {
 public:
  Gatherer(const Catalogue& catalogue, const std::vector<ShardRange>& in_place)
      : shards_(catalogue.shards), in_place_(in_place) {}

  // Adds a wanted range, behind those that were added before: part of it to be staged, part read in place.
  void add(ShardRange range) {
    while (range.begin < range.end) {
      while (next_ < in_place_.size() && is_before(in_place_[next_], range)) ++next_;
      const bool meets = next_ < in_place_.size() && in_place_[next_].shard == range.shard;
      ShardRange part = range;
      if (meets && in_place_[next_].begin <= range.begin) {
        part.end = std::min(range.end, in_place_[next_].end);
        add_in_place(in_place_[next_]);
      } else {
        if (meets) part.end = std::min(range.end, in_place_[next_].begin);
        add_staged(part);
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
  void add_in_place(const ShardRange& range) {
    if (!ranges_.empty()) {
      const ReadRange& last = ranges_.back();
      if (last.in_place && last.shard == range.shard && last.end == range.end) return;
    }
    ranges_.push_back({range, true});
  }

  void add_staged(const ShardRange& part) {
    const std::uint64_t begin = align_down(part.begin, block_bytes);
    const std::uint64_t end = std::min(align_up(part.end, block_bytes), shards_[part.shard].bytes);
    if (!ranges_.empty()) {
      ReadRange& last = ranges_.back();
      if (!last.in_place && last.shard == part.shard && begin <= last.end + limits::gap_bytes_max) {
        last.end = std::max(last.end, end);
        return;
      }
    }
    ranges_.push_back({{begin, end, part.shard}, false});
  }

  const std::vector<Shard>& shards_;
  const std::vector<ShardRange>& in_place_;
  std::size_t next_ = 0;  // of in_place_: the first that does not end before what is added
  std::vector<ReadRange> ranges_;
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
  const bool tables = std::any_of(plan.devices.begin(), plan.devices.end(),
                                  [](DeviceId device) { return device.kind == DeviceId::Kind::cuda; });
  if (!tables) return {plan.slab_bytes, unbounded};
  const std::uint64_t table_bytes = plan.slab_bytes / share;
  return {plan.slab_bytes - table_bytes, table_bytes / table_entry_bytes};
}

// A place in what is wanted that only moves forward: the first tensor that ends behind some offset of a shard.
class Cursor {
 public:
  explicit Cursor(std::span<const Wanted> wanted) : rest_(wanted) {}

  void skip_to(std::uint32_t shard, std::uint64_t offset) {
    while (!rest_.empty() &&
           (rest_.front().shard < shard || (rest_.front().shard == shard && rest_.front().end <= offset))) {
      rest_ = rest_.subspan(1);
    }
  }
  /// Those from here on that begin before `end` of the shard.
  std::span<const Wanted> met(std::uint32_t shard, std::uint64_t end) const {
    const auto is_met = [&](const Wanted& tensor) { return tensor.shard == shard && tensor.begin < end; };
    // They are few among many: the search goes as far as they do.
    std::size_t bound = 1;
    while (bound < rest_.size() && is_met(rest_[bound])) bound *= 2;
    const auto last =
        std::partition_point(rest_.begin() + static_cast<std::ptrdiff_t>(bound / 2),
                             rest_.begin() + static_cast<std::ptrdiff_t>(std::min(bound, rest_.size())), is_met);
    return rest_.first(static_cast<std::size_t>(last - rest_.begin()));
  }

 private:
  std::span<const Wanted> rest_;
};

// Where an extent ends that begins at `begin` and meets `tensors`, of which it may hold as many deliveries as `bounds`
// say; no further than `cut`. At a block, unless even one block's tensors are too many.
std::uint64_t cut_by_deliveries(std::uint64_t begin, std::uint64_t cut, const ExtentBounds& bounds,
                                std::span<const Wanted> tensors) {
  if (tensors.empty()) return cut;
  const std::uint32_t first = tensors.front().first_placement;
  const auto one_too_many = std::partition_point(tensors.begin(), tensors.end(), [&](const Wanted& tensor) {
    return tensor.first_placement + tensor.placement_count - first <= bounds.deliveries;
  });
  if (one_too_many == tensors.end()) return cut;
  // Moved before an element that it would split, the cut must still be behind `begin`.
  constexpr std::uint64_t element_bytes_max = 8;
  const std::uint64_t block = align_down(one_too_many->begin, block_bytes);
  return block >= begin + element_bytes_max ? block : one_too_many->begin;
}

// Where `range` is cut next, behind `begin`: at a block, unless that would split an element of a cast tensor.
std::uint64_t next_cut(const ReadRange& range, std::uint64_t begin, const ExtentBounds& bounds, Cursor& cursor) {
  std::uint64_t cut = range.end;
  if (range.end - begin > bounds.bytes) cut = align_down(begin + bounds.bytes, block_bytes);
  cursor.skip_to(range.shard, begin);
  if (bounds.deliveries != unbounded) {
    cut = cut_by_deliveries(begin, cut, bounds, cursor.met(range.shard, cut));
  }
  if (cut == range.end) return cut;
  cursor.skip_to(range.shard, cut);
  const std::span<const Wanted> met = cursor.met(range.shard, cut);
  return met.empty() ? cut : cut - (cut - met.front().begin) % met.front().unit_bytes;
}

void cut_ranges(PlanData& plan, const std::vector<ReadRange>& ranges, const BigVector<Wanted>& wanted) {
  std::uint64_t count = 0;
  // An extent is a slab, but for less than a block where elements straddle blocks: this reserves enough, nearly always.
  const ExtentBounds bounds = bounds_of(plan);
  for (const ReadRange& range : ranges) count += (range.end - range.begin) / bounds.bytes + 1;
  plan.extents.reserve(count);
  Cursor cursor(wanted);
  for (const ReadRange& range : ranges) {
    for (std::uint64_t begin = range.begin; begin < range.end;) {
      const std::uint64_t end = next_cut(range, begin, bounds, cursor);
      Extent& extent = plan.extents.emplace_back();
      extent.offset = begin;
      extent.bytes = static_cast<std::uint32_t>(end - begin);
      extent.shard = range.shard;
      extent.in_place = range.in_place;
      extent.aligned = begin % block_bytes == 0 && (end % block_bytes == 0 || end == range.end);
      begin = end;
    }
  }
}

// Says what of `extent` belongs to `tensors`, those that it meets: one part per device, in each its deliveries by
// source offset.
void deliver(PlanData& plan, Extent& extent, std::span<const Wanted> tensors) {
  const std::uint32_t placements_begin = tensors.front().first_placement;
  const std::uint32_t placements_end = tensors.back().first_placement + tensors.back().placement_count;
  std::array<std::uint32_t, limits::devices_max> count{};  // of deliveries, by device
  if (plan.devices.size() == 1) {
    count[0] = static_cast<std::uint32_t>(tensors.size());
  } else {
    for (std::uint32_t i = placements_begin; i < placements_end; ++i) {
      if (plan.placements[i].bytes != 0) ++count[plan.placements[i].device];
    }
  }
  const auto extent_first = static_cast<std::uint32_t>(plan.deliveries.size());
  std::array<std::uint32_t, limits::devices_max> next{};  // by device: the place of its next delivery
  std::uint32_t place = extent_first;
  for (std::size_t device = 0; device < plan.devices.size(); ++device) {
    next[device] = place;
    place += count[device];
  }
  plan.deliveries.resize(place);

  for (const Wanted& tensor : tensors) {
    const std::uint64_t begin = std::max(tensor.begin, extent.offset);
    const std::uint64_t end = std::min(tensor.end, extent.offset + extent.bytes);
    for (std::uint32_t i = 0; i < tensor.placement_count; ++i) {
      const std::uint32_t index = tensor.first_placement + i;
      Placement& placement = plan.placements[index];
      Delivery& delivery = plan.deliveries[next[placement.device]++];
      delivery.target_offset =
          placement.arena_offset + delivered_bytes(begin - tensor.begin, tensor.dtype, placement.dtype);
      delivery.source_offset = static_cast<std::uint32_t>(begin - extent.offset);
      delivery.run_bytes = static_cast<std::uint32_t>(end - begin);
      delivery.source_stride = delivery.run_bytes;
      delivery.target_stride = delivered_bytes(delivery.run_bytes, tensor.dtype, placement.dtype);
      delivery.rows = 1;
      delivery.placement = index;
      delivery.source_dtype = tensor.dtype;
      ++placement.deliveries;
    }
  }

  extent.first_part = static_cast<std::uint32_t>(plan.parts.size());
  for (std::size_t device = 0; device < plan.devices.size(); ++device) {
    if (count[device] == 0) continue;
    const std::uint32_t first = next[device] - count[device];
    plan.parts.push_back(
        make_part(plan, extent, static_cast<std::uint8_t>(device), {first, count[device]}, first - extent_first));
  }
  extent.part_count = static_cast<std::uint8_t>(plan.parts.size() - extent.first_part);
}

}  // namespace

void cut_extents(PlanData& plan, const BigVector<Wanted>& wanted, const std::vector<ShardRange>& in_place) {
  Gatherer gatherer(*plan.catalogue, in_place);
  for (const Wanted& tensor : wanted) gatherer.add({tensor.begin, tensor.end, tensor.shard});
  cut_ranges(plan, std::move(gatherer).take(), wanted);

  // A cut makes one more delivery of the tensor that it meets, on each of its devices.
  plan.deliveries.reserve(plan.placements.size() + plan.extents.size() * plan.devices.size());
  plan.parts.reserve(plan.extents.size() * plan.devices.size());
  Cursor cursor(wanted);
  for (Extent& extent : plan.extents) {
    cursor.skip_to(extent.shard, extent.offset);
    const std::span<const Wanted> met = cursor.met(extent.shard, extent.offset + extent.bytes);
    if (!met.empty()) deliver(plan, extent, met);
  }
  // A gap that was to be read along, but fills an extent of its own.
  std::erase_if(plan.extents, [](const Extent& extent) { return extent.part_count == 0; });
}

}  // namespace sluice
