// PlanData: what make_plan() works out and Engine carries out. Nothing here does I/O or touches data.
//
//   plan ⊃ extents ⊃ parts ⊃ deliveries, and beside them placements: one tensor on one device.
//
// One extent of a shard with three tensors on one device, of which A and B are wanted as they are and C is cast:
//
//     shard   ....|AAAAAAAAAAA|BBBBB|CCCCCCCC|....      (tensor data have no gaps in a shard)
//     extent   [   A2         | B   | C1    ]           offset and length are multiples of 4096 (or end with the file)
//     arena    ...AAAAAAAAAAA|BBBBB|...CCCC...          A and B stay neighbours: one copy takes both
//
//   Three deliveries: the rest of A, all of B, the beginning of C. A tensor is published with its last one. All three
//   are for one device, so they make one part: what the extent brings to that device, and by how many copies and
//   launches. With a second device the extent would have a second part.
//
// Where tensors are cut, or go to places of a caller's making, routes (loader/plan/route.hpp) say which bytes become
// which; deliveries are what an extent holds of them.
//
// Invariants (checked by check_plan(), which tests and debug builds run):
//  - extents are in the order of reading (loader/plan/reading_order.hpp); no byte of a shard is in two; none is longer
//    than a slab, and where there is a CUDA device, neither is an extent with the table of its deliveries;
//  - parts follow the order of extents in their shards, and within an extent that of devices: one for each device that
//    the extent brings something to;
//  - deliveries follow the order of parts, and within a part that of source offsets; they lie inside their extent;
//  - every run of every route is delivered exactly once, and no two placements share memory. Every byte of a tensor
//    that is delivered by itself has one route; so has every byte of a destination that is not filled or kept.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "loader/base/big_vector.hpp"
#include "loader/base/limits.hpp"
#include "loader/format/catalogue.hpp"
#include "loader/plan/route.hpp"
#include "sluice/error.hpp"
#include "sluice/plan.hpp"

namespace sluice {

/// What direct reads begin and end at multiples of.
inline constexpr std::uint64_t block_bytes = limits::direct_alignment_bytes;

/// One tensor on one device, as the load delivers it: a tensor of the checkpoint, or a destination.
struct Placement {
  static constexpr std::uint32_t none = UINT32_MAX;

  std::uint64_t arena_offset = 0;    // of its first byte; in the caller's memory 0
  std::uint64_t bytes = 0;           // as delivered, without the gaps of strides
  std::uint32_t tensor = none;       // index into Catalogue::tensors; none for a destination
  std::uint32_t description = none;  // index into PlanData::descriptions; none for a tensor that is delivered whole
  std::uint32_t deliveries = 0;      // how many must be done before it is published; 0 where nothing is to be read
  std::uint32_t region = 0;          // 0: its device's arena; else PlanData::regions[region - 1]
  std::uint32_t group = 0;           // index into PlanCosts::groups
  Dtype dtype = Dtype::u8;           // as delivered
  std::uint8_t device = 0;           // index into PlanData::devices
};

/// What the catalogue does not say of a placement.
struct Description {
  std::string name;
  std::vector<std::uint64_t> shape;
  std::vector<std::uint64_t> strides;  // elements from one index to the next; empty: row-major without gaps
};

/// A part of an arena that is allocated and given back by itself, because the request has a budget. Offset and length
/// are multiples of limits::piece_bytes_unit; it is no longer than the request's pieces, or holds one tensor.
struct ArenaPiece {
  std::uint64_t offset = 0;  // in the arena
  std::uint64_t bytes = 0;
  std::uint32_t placements = 0;    // that lie in it, each as a whole; at least 1
  std::uint32_t first_extent = 0;  // that brings something to it; 0 where none does
  std::uint32_t last_extent = 0;   // likewise
  std::uint8_t device = 0;         // index into PlanData::devices
};

/// Memory of the caller's that holds one destination. Where it lies is no part of the plan: loader/plan/bindings.hpp.
struct Region {
  std::uint64_t bytes = 0;
  std::uint8_t device = 0;  // index into PlanData::devices
};

/// Elements of a destination that no route writes, and that become zero before anything is delivered.
struct Fill {
  std::uint64_t offset = 0;  // in the placement
  std::uint64_t run_bytes = 0;
  std::uint64_t stride = 0;
  std::uint64_t rows = 1;
  std::uint32_t placement = 0;
};

/// A part of an extent that belongs to one placement: `rows` runs of `run_bytes`, strided on both sides. A whole
/// tensor, or a contiguous part of one, is one row. Lengths and strides on the source side count source bytes, on the
/// target side delivered bytes; a cast run of n source bytes fills n / size(source) * size(target).
struct Delivery {
  std::uint64_t target_offset = 0;  // in the placement's arena or region
  std::uint64_t target_stride = 0;
  std::uint32_t source_offset = 0;  // in the extent
  std::uint32_t source_stride = 0;
  std::uint32_t run_bytes = 0;
  std::uint32_t rows = 1;
  std::uint32_t placement = 0;
  Dtype source_dtype = Dtype::u8;  // the catalogue's; a cast where the placement's is another

  /// Behind its last row, in the extent.
  std::uint64_t source_end() const noexcept {
    return source_offset + std::uint64_t{rows - 1} * source_stride + run_bytes;
  }
};

/// What one extent brings to one device, and by how many copies and launches: worked out once, by the plan, and handed
/// to the device's lane as it is.
///
/// On the host each run of bytes that stay as they are is a copy, and each cast a launch. On CUDA, and on `null` as if
/// it were CUDA, a handful of copies and no cast stay copies; anything else is one launch, behind one copy to scratch
/// or two (loader/plan/kernel_table.hpp). A part that is read in place takes neither.
struct Part {
  std::uint32_t first_delivery = 0;
  std::uint32_t delivery_count = 0;  // at least 1
  std::uint32_t copies = 0;
  std::uint32_t launches = 0;
  // What a launch needs in scratch, at the same offsets as in the slab: the extent's bytes from the part's first to its
  // last, in whole vectors of the kernel, and the table of its deliveries. All 0 where nothing goes to scratch.
  std::uint32_t scratch_begin = 0;
  std::uint32_t scratch_end = 0;
  std::uint32_t table_begin = 0;
  std::uint64_t link_bytes = 0;  // that the copies carry, a table aside
  std::uint8_t device = 0;       // index into PlanData::devices
  bool gathered = false;         // only what is needed between scratch_begin and scratch_end is copied: gather.hpp

  bool goes_to_scratch() const noexcept { return table_begin != 0; }
};

/// One byte range of one shard, read once.
struct Extent {
  std::uint64_t offset = 0;  // in the shard
  std::uint32_t bytes = 0;   // at most a slab; at the end of a file not necessarily a multiple of the alignment
  std::uint32_t shard = 0;
  std::uint32_t first_part = 0;
  std::uint32_t group = 0;      // index into PlanCosts::groups: with which group it is read
  std::uint8_t part_count = 0;  // at least 1
  /// Every byte is wanted, as it is, by one host arena only, at a distance that direct reads allow: it is read straight
  /// to the target of its first delivery (whose source_offset is 0), through no slab.
  bool in_place = false;
  /// Offset, and length unless the file ends, are multiples of limits::direct_alignment_bytes. False only where a cast
  /// tensor lies so that its elements straddle every such boundary, and the cut goes between two elements instead; and
  /// with a budget for the block where a piece's tensors end that must not wait for the next ones. Such an extent is
  /// read buffered.
  bool aligned = true;
};

struct PlanData {
  std::shared_ptr<const Catalogue> catalogue;
  std::vector<DeviceId> devices;    // in the order in which the request first names them
  BigVector<Placement> placements;  // destinations in the request's order; then tensors in file order, then by device
  std::vector<Description> descriptions;
  std::vector<Region> regions;
  std::vector<Fill> fills;
  std::vector<ArenaPiece> pieces;  // by device and offset; none without a budget: arenas are there as a whole
  std::uint32_t destination_count = 0;
  std::vector<std::uint32_t> destinations_by_name;  // their placements, by name, then by device
  std::vector<std::uint32_t> left_out;              // tensors that no rule matches
  BigVector<Route> routes;                          // in order of shard and offset
  BigVector<Path> paths;
  BigVector<Loop> loops;
  std::uint64_t routed_bytes = 0;  // from each route's begin to its end, all together
  BigVector<Extent> extents;
  BigVector<Part> parts;
  BigVector<Delivery> deliveries;
  std::uint64_t slab_bytes = 0;       // the bound of its extents: an engine needs slabs at least as large
  std::uint64_t staging_bytes = 0;    // the bound of the options that it was made with
  std::uint32_t alignment_bytes = 0;  // the request's: what placements were promised
  std::uint64_t budget_bytes = 0;     // likewise: of each device's arena, the most at a time; 0: all of it
  std::uint64_t piece_bytes = 0;      // likewise, resolved
  bool strict = false;                // likewise
  bool is_retargeted = false;         // placements lie as another checkpoint's plan has them
  PlanCosts costs;
  std::int64_t begin_ns = 0;  // of the steady clock, when it was begun to be made
  double seconds = 0;
  double cpu_seconds = 0;

  std::string_view name_of(const Placement& placement) const noexcept {
    return placement.tensor == Placement::none ? std::string_view(descriptions[placement.description].name)
                                               : catalogue->tensors[placement.tensor].name;
  }
  std::span<const std::uint64_t> shape_of(const Placement& placement) const noexcept {
    return placement.description == Placement::none
               ? catalogue->tensors[placement.tensor].shape
               : std::span<const std::uint64_t>(descriptions[placement.description].shape);
  }
  std::span<const std::uint64_t> strides_of(const Placement& placement) const noexcept {
    if (placement.description == Placement::none) return {};
    return descriptions[placement.description].strides;
  }
  Path path_of(const Route& route) const noexcept { return route.path == 0 ? Path() : paths[route.path - 1]; }
  std::span<const Loop> loops_of(const Route& route) const noexcept {
    const Path path = path_of(route);
    return std::span(loops).subspan(path.first_loop, path.loop_count);
  }
  bool is_one_run(const Route& route) const noexcept { return route.path == 0 || path_of(route).loop_count == 0; }
  /// Delivering its bytes as `to`.
  RouteWalk walk(const Route& route, Dtype to) const noexcept {
    return {route, path_of(route).target, loops_of(route), to};
  }
  std::span<const Part> parts_of(const Extent& extent) const noexcept {
    return std::span(parts).subspan(extent.first_part, extent.part_count);
  }
  std::span<const Delivery> deliveries_of(const Part& part) const noexcept {
    return std::span(deliveries).subspan(part.first_delivery, part.delivery_count);
  }
  /// Those of all its parts, one after the other.
  std::span<const Delivery> deliveries_of(const Extent& extent) const noexcept {
    const std::span<const Part> of = parts_of(extent);
    const Part& last = of.back();
    return std::span(deliveries)
        .subspan(of.front().first_delivery, last.first_delivery + last.delivery_count - of.front().first_delivery);
  }
  std::uint32_t index_of(const Extent& extent) const noexcept {
    return static_cast<std::uint32_t>(&extent - extents.data());
  }
  bool is_cast(const Delivery& delivery) const noexcept {
    return delivery.source_dtype != placements[delivery.placement].dtype;
  }
};

/// Whether a placement's memory comes as zeros when its piece is bound: then its fills need nothing else.
inline bool is_bound_as_zeros(const PlanData& plan, const Placement& placement) noexcept {
  return plan.budget_bytes != 0 && placement.region == 0;
}

/// What travels in one copy, as it is: neighbouring runs of bytes in one, or rows with a pitch.
struct Copy {
  std::uint64_t target_offset = 0;
  std::uint64_t target_stride = 0;  // of rows
  std::uint32_t source_offset = 0;
  std::uint32_t source_stride = 0;
  std::uint32_t bytes = 0;  // of a row
  std::uint32_t rows = 1;
  std::uint32_t placement = 0;  // of the first delivery: its arena or region is where the offsets count from
};

/// Calls `take(Copy)` for each maximal run of identity deliveries and for each strided one, in order, and
/// `take(Delivery)` for each cast. `deliveries` belong to one device and one extent.
template <typename Take>
void coalesce(const PlanData& plan, std::span<const Delivery> deliveries, Take&& take) {
  Copy pending;
  const auto flush = [&] {
    if (pending.bytes != 0) take(pending);
    pending.bytes = 0;
  };
  for (const Delivery& delivery : deliveries) {
    if (plan.is_cast(delivery)) {
      take(delivery);
      continue;
    }
    const bool joins = pending.bytes != 0 && pending.rows == 1 && delivery.rows == 1 &&
                       pending.source_offset + pending.bytes == delivery.source_offset &&
                       pending.target_offset + pending.bytes == delivery.target_offset &&
                       plan.placements[pending.placement].region == plan.placements[delivery.placement].region;
    if (joins) {
      pending.bytes += delivery.run_bytes;
      continue;
    }
    flush();
    pending = {delivery.target_offset, delivery.target_stride, delivery.source_offset, delivery.source_stride,
               delivery.run_bytes,     delivery.rows,          delivery.placement};
  }
  flush();
}

/// As the public make_plan(), which calls it.
Plan make_plan(std::shared_ptr<const Catalogue> catalogue, const Request& request, const Options& options);
/// As the public check().
std::vector<Error> check(const std::shared_ptr<const Catalogue>& catalogue, const Request& request);

/// Checks the invariants above and what the plan promises: alignment, costs. Describes the first violation, or returns
/// an empty string. Written from the comments of this file, not from make_plan(). O(n log n).
std::string check_plan(const PlanData& plan);

}  // namespace sluice
