#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "loader/base/limits.hpp"
#include "loader/plan/gather.hpp"
#include "loader/plan/kernel_table.hpp"
#include "loader/plan/plan.hpp"

namespace sluice {
namespace {

// Each function describes the first violation that it meets, or returns an empty string.
class Checker {
 public:
  explicit Checker(const PlanData& plan) : plan_(plan), tensors_(plan.catalogue->tensors) {}

  std::string check() {
    for (const auto step :
         {&Checker::check_frame, &Checker::check_placements, &Checker::check_routes, &Checker::check_overlaps,
          &Checker::check_extents, &Checker::sort_by_file, &Checker::check_order, &Checker::check_cuts,
          &Checker::check_deliveries, &Checker::check_completeness, &Checker::check_parts, &Checker::check_costs,
          &Checker::check_costs_by_device, &Checker::check_pieces, &Checker::check_peaks}) {
      std::string violation = (this->*step)();
      if (!violation.empty()) return violation;
    }
    return {};
  }

 private:
  std::string check_frame() {
    if (plan_.slab_bytes == 0 || plan_.slab_bytes % limits::slab_bytes_unit != 0 ||
        plan_.slab_bytes > limits::slab_bytes_max) {
      return fmt::format("slabs of {} bytes", plan_.slab_bytes);
    }
    if (plan_.devices.size() > limits::devices_max) return fmt::format("{} devices", plan_.devices.size());
    for (auto device = plan_.devices.begin(); device != plan_.devices.end(); ++device) {
      if (std::find(plan_.devices.begin(), device, *device) != device) return name(*device) + " is there twice";
    }
    if (plan_.costs.devices.size() != plan_.devices.size()) return "costs are of other devices";
    for (std::size_t i = 0; i < plan_.devices.size(); ++i) {
      if (plan_.costs.devices[i].device != plan_.devices[i]) return "costs are of other devices";
    }
    return {};
  }

  std::string check_placements() {
    if (plan_.destination_count > plan_.placements.size()) return "more destinations than placements";
    for (std::size_t i = 0; i < plan_.placements.size(); ++i) {
      const std::string violation = check_placement(i);
      if (!violation.empty()) return fmt::format("placement {}: {}", i, violation);
    }
    return {};
  }

  std::string check_placement(std::size_t i) {
    const Placement& placement = plan_.placements[i];
    const bool is_destination = i < plan_.destination_count;
    if (placement.device >= plan_.devices.size()) return "no such device";
    if (placement.group >= plan_.costs.groups.size()) return "no such group";
    if (placement.description != Placement::none && placement.description >= plan_.descriptions.size()) {
      return "no such description";
    }
    if (is_destination != (placement.tensor == Placement::none))
      return "a tensor among destinations, or none behind them";
    if (is_destination && placement.description == Placement::none) return "a destination without a description";
    if (!is_destination && placement.tensor >= tensors_.size()) return fmt::format("no tensor {}", placement.tensor);
    if (i > plan_.destination_count) {
      const Placement& before = plan_.placements[i - 1];
      if (std::pair(before.tensor, before.device) >= std::pair(placement.tensor, placement.device)) {
        return "not in order of tensor and device";
      }
    }
    const std::uint64_t bytes = elements_of(plan_.shape_of(placement)) * bits(placement.dtype) / 8;
    if (placement.bytes != bytes) return fmt::format("{} bytes, not {}", placement.bytes, bytes);
    if (placement.region != 0) {
      if (!is_destination || placement.region > plan_.regions.size()) return "no such region";
      if (plan_.regions[placement.region - 1].device != placement.device) return "its region is another device's";
      return placement.arena_offset == 0 ? "" : "not at the beginning of its region";
    }
    const std::uint64_t arena_bytes = plan_.costs.devices[placement.device].arena_bytes;
    if (placement.bytes > arena_bytes || placement.arena_offset > arena_bytes - placement.bytes) {
      return "outside its arena";
    }
    return {};
  }

  // As sluice/request.hpp words it.
  std::uint64_t promised_alignment(std::size_t i) const {
    const Placement& placement = plan_.placements[i];
    if (placement.bytes == 0 || placement.region != 0) return 1;
    if (plan_.alignment_bytes != 0) return plan_.alignment_bytes;
    std::uint64_t promise = std::min<std::uint64_t>(256, std::bit_floor(placement.bytes));
    const auto routes = routes_of(i);
    const bool is_run = i >= plan_.destination_count && routes.size() == 1 &&
                        plan_.loops_of(plan_.routes[routes[0].second]).empty() &&
                        plan_.routes[routes[0].second].dtype == placement.dtype;
    if (is_run && plan_.devices[placement.device].kind == DeviceId::Kind::host) {
      while (plan_.routes[routes[0].second].begin % promise != 0) promise /= 2;
    }
    return std::max<std::uint64_t>(promise, natural_alignment(placement.dtype));
  }

  // Every byte of a tensor that is delivered by itself comes by routes, and no more of a destination than there is.
  std::string check_routes() {
    for (std::uint32_t i = 0; i < plan_.routes.size(); ++i) {
      const Route& route = plan_.routes[i];
      if (route.tensor >= tensors_.size() || route.placement_count == 0 ||
          route.first_placement + std::uint64_t{route.placement_count} > plan_.placements.size()) {
        return fmt::format("route {}: of no tensor, or to no placement", i);
      }
      const TensorInfo& tensor = tensors_[route.tensor];
      if (route.shard != tensor.shard || route.begin < tensor.offset || route.end > tensor.offset + tensor.bytes) {
        return fmt::format("route {}: outside its tensor", i);
      }
      if (i != 0 &&
          std::pair(plan_.routes[i - 1].shard, plan_.routes[i - 1].begin) > std::pair(route.shard, route.begin)) {
        return fmt::format("route {}: not in order of shard and offset", i);
      }
      for (std::uint32_t j = 0; j < route.placement_count; ++j)
        by_placement_.emplace_back(route.first_placement + j, i);
    }
    std::sort(by_placement_.begin(), by_placement_.end());
    routed_.assign(by_placement_.size(), 0);
    for (std::size_t i = 0; i < plan_.placements.size(); ++i) {
      const Placement& placement = plan_.placements[i];
      std::uint64_t bytes = 0;
      for (const auto& [index, number] : routes_of(i)) {
        const Route& route = plan_.routes[number];
        if (route.dtype != placement.dtype && (!is_castable(route.dtype) || !is_castable(placement.dtype))) {
          return fmt::format("placement {}: no cast from {} to {}", i, name(route.dtype), name(placement.dtype));
        }
        bytes += delivered_bytes(source_bytes(route), route.dtype, placement.dtype);
      }
      if (i < plan_.destination_count ? bytes > placement.bytes : bytes != placement.bytes) {
        return fmt::format("placement {}: {} of its {} bytes have routes", i, bytes, placement.bytes);
      }
      if (!plan_.is_retargeted && placement.arena_offset % promised_alignment(i) != 0) {
        return fmt::format("placement {}: at {}, not aligned to {}", i, placement.arena_offset, promised_alignment(i));
      }
    }
    return {};
  }

  std::uint64_t source_bytes(const Route& route) const {
    std::uint64_t bytes = run_bytes_of(route, plan_.loops_of(route));
    for (const Loop& loop : plan_.loops_of(route)) bytes *= loop.count;
    return bytes;
  }

  using PlacementRoute = std::pair<std::uint32_t, std::uint32_t>;
  std::span<const PlacementRoute> routes_of(std::size_t placement) const {
    const auto number = static_cast<std::uint32_t>(placement);
    const auto first = std::lower_bound(by_placement_.begin(), by_placement_.end(), PlacementRoute{number, 0});
    const auto last = std::upper_bound(first, by_placement_.end(), PlacementRoute{number, UINT32_MAX});
    return {first, last};
  }

  std::string check_overlaps() {
    std::vector<const Placement*> by_place;
    by_place.reserve(plan_.placements.size());
    for (const Placement& placement : plan_.placements) {
      if (placement.bytes != 0 && placement.region == 0) by_place.push_back(&placement);
    }
    std::sort(by_place.begin(), by_place.end(), [](const Placement* a, const Placement* b) {
      return std::pair(a->device, a->arena_offset) < std::pair(b->device, b->arena_offset);
    });
    for (std::size_t i = 1; i < by_place.size(); ++i) {
      const Placement& before = *by_place[i - 1];
      const Placement& after = *by_place[i];
      if (before.device == after.device && before.arena_offset + before.bytes > after.arena_offset) {
        return fmt::format("placements of \"{}\" and \"{}\" overlap", plan_.name_of(before), plan_.name_of(after));
      }
    }
    return {};
  }

  std::string check_extents() {
    for (std::size_t i = 0; i < plan_.extents.size(); ++i) {
      const Extent& extent = plan_.extents[i];
      if (extent.shard >= plan_.catalogue->shards.size()) return fmt::format("extent {}: no shard {}", i, extent.shard);
      if (extent.bytes == 0 || extent.bytes > plan_.slab_bytes) {
        return fmt::format("extent {}: {} bytes in slabs of {}", i, extent.bytes, plan_.slab_bytes);
      }
      const std::uint64_t file_bytes = plan_.catalogue->shards[extent.shard].bytes;
      if (extent.bytes > file_bytes || extent.offset > file_bytes - extent.bytes) {
        return fmt::format("extent {}: outside its shard", i);
      }
      if (extent.group >= plan_.costs.groups.size()) return fmt::format("extent {}: no such group", i);
      if (i != 0 && plan_.extents[i - 1].group > extent.group) {
        return fmt::format("extent {}: of a group that comes before", i);
      }
      const std::uint64_t end = extent.offset + extent.bytes;
      const bool aligned = extent.offset % block_bytes == 0 && (end % block_bytes == 0 || end == file_bytes);
      if (aligned != extent.aligned) return fmt::format("extent {}: wrongly says whether it is aligned", i);
      if (!aligned && extent.in_place) return fmt::format("extent {}: in place, but not aligned", i);
    }
    return {};
  }

  bool has_tables() const {
    return std::any_of(plan_.devices.begin(), plan_.devices.end(),
                       [](DeviceId device) { return device.kind == DeviceId::Kind::cuda; });
  }

  // Whether an extent may begin, or end, at this byte of a shard: at a block, where the block would split an element of
  // a tensor that is cast, where tables bound the number of deliveries, or with a budget at an end of a tensor.
  bool may_begin_at(std::uint32_t shard, std::uint64_t offset) const {
    if (offset % block_bytes == 0 || (has_tables() && a_full_extent_ends_at(shard, offset))) return true;
    if (plan_.budget_bytes != 0 && a_route_ends_at(shard, offset)) return true;
    const std::uint64_t block = offset + block_bytes - offset % block_bytes;
    const auto found = std::partition_point(tensors_.begin(), tensors_.end(), [&](const TensorInfo& tensor) {
      return std::pair(tensor.shard, tensor.offset + tensor.bytes) <= std::pair(shard, offset);
    });
    if (found == tensors_.end() || found->shard != shard || found->offset > offset) return false;
    const auto index = static_cast<std::uint32_t>(found - tensors_.begin());
    const bool cast = std::any_of(plan_.routes.begin(), plan_.routes.end(),
                                  [&](const Route& route) { return route.tensor == index && route.unit_bytes > 1; });
    const std::uint64_t element_bytes = bits(found->dtype) / 8;
    return cast && (offset - found->offset) % element_bytes == 0 && block - offset < element_bytes;
  }

  bool a_route_ends_at(std::uint32_t shard, std::uint64_t offset) const {
    return std::any_of(plan_.routes.begin(), plan_.routes.end(), [&](const Route& route) {
      return route.shard == shard && (route.begin == offset || route.end == offset);
    });
  }

  // Whether the table of the extent that ends there is at least half full: what else was in the block did not fit.
  bool a_full_extent_ends_at(std::uint32_t shard, std::uint64_t offset) const {
    const auto found = std::partition_point(by_file_.begin(), by_file_.end(), [&](const Extent* extent) {
      return std::pair(extent->shard, extent->offset + extent->bytes) < std::pair(shard, offset);
    });
    if (found == by_file_.end() || (*found)->shard != shard || (*found)->offset + (*found)->bytes != offset)
      return false;
    return plan_.deliveries_of(**found).size() * 2 * 40 >= plan_.slab_bytes / 16;
  }

  // Extents in the order of their shards, which share no byte.
  std::string sort_by_file() {
    for (const Extent& extent : plan_.extents) by_file_.push_back(&extent);
    std::sort(by_file_.begin(), by_file_.end(), [](const Extent* a, const Extent* b) {
      return std::pair(a->shard, a->offset) < std::pair(b->shard, b->offset);
    });
    for (std::size_t i = 1; i < by_file_.size(); ++i) {
      const Extent& before = *by_file_[i - 1];
      if (before.shard == by_file_[i]->shard && before.offset + before.bytes > by_file_[i]->offset) {
        return fmt::format("extent {}: shares bytes with another", plan_.index_of(*by_file_[i]));
      }
    }
    return {};
  }

  // That extents begin and end with blocks, but where they need not.
  std::string check_cuts() {
    for (std::size_t i = 0; i < plan_.extents.size(); ++i) {
      const Extent& extent = plan_.extents[i];
      if (extent.aligned) continue;
      const std::uint64_t end = extent.offset + extent.bytes;
      if (!may_begin_at(extent.shard, extent.offset)) return fmt::format("extent {}: begins unaligned", i);
      if (end != plan_.catalogue->shards[extent.shard].bytes && !may_begin_at(extent.shard, end)) {
        return fmt::format("extent {}: ends unaligned", i);
      }
    }
    return {};
  }

  // Parts and deliveries follow the order of extents in their shards, without a gap; each part is of one device.
  std::string check_order() {
    std::uint64_t next_part = 0;
    std::uint64_t next_delivery = 0;
    for (const Extent* const its : by_file_) {
      const Extent& extent = *its;
      const std::uint32_t i = plan_.index_of(extent);
      if (extent.first_part != next_part || extent.part_count == 0 ||
          extent.part_count > plan_.parts.size() - next_part) {
        return fmt::format("extent {}: its parts do not follow those of the one before it", i);
      }
      next_part += extent.part_count;
      const Part* before = nullptr;
      for (const Part& part : plan_.parts_of(extent)) {
        if (part.first_delivery != next_delivery || part.delivery_count == 0 ||
            part.delivery_count > plan_.deliveries.size() - next_delivery) {
          return fmt::format("extent {}: a part's deliveries do not follow those of the one before it", i);
        }
        next_delivery += part.delivery_count;
        if (part.device >= plan_.devices.size()) return fmt::format("extent {}: a part for no device", i);
        if (before != nullptr && before->device >= part.device)
          return fmt::format("extent {}: not in order of devices", i);
        before = &part;
      }
    }
    if (next_part != plan_.parts.size()) return "parts of no extent";
    if (next_delivery != plan_.deliveries.size()) return "deliveries of no extent";
    return check_reading_order();
  }

  // Within a group, those for the same devices come in the order of files.
  std::string check_reading_order() const {
    std::map<std::pair<std::uint32_t, std::vector<std::uint8_t>>, const Extent*> last;
    for (std::uint32_t i = 0; i < plan_.extents.size(); ++i) {
      const Extent& extent = plan_.extents[i];
      std::vector<std::uint8_t> devices;
      for (const Part& part : plan_.parts_of(extent)) devices.push_back(part.device);
      const Extent*& before = last[{extent.group, std::move(devices)}];
      if (before != nullptr && std::pair(before->shard, before->offset) > std::pair(extent.shard, extent.offset)) {
        return fmt::format("extent {}: not behind the one before it for the same devices", i);
      }
      before = &extent;
    }
    return {};
  }

  std::string check_deliveries() {
    counted_.assign(plan_.placements.size(), 0);
    for (const Extent* const its : by_file_) {
      const Extent& extent = *its;
      const std::uint32_t i = plan_.index_of(extent);
      for (const Part& part : plan_.parts_of(extent)) {
        const Delivery* before = nullptr;
        for (const Delivery& delivery : plan_.deliveries_of(part)) {
          std::string violation = check_delivery(extent, before, delivery);
          if (violation.empty() && device_of(delivery) != part.device) violation = "of another device than its part";
          if (!violation.empty()) {
            return fmt::format("extent {}, delivery {}: {}", i, &delivery - plan_.deliveries.data(), violation);
          }
          before = &delivery;
        }
      }
      if (extent.in_place && !is_identity(extent)) return fmt::format("extent {}: in place, but no identity", i);
    }
    return {};
  }

  // That each part says how it gets to its device, as the comment of Part words it.
  std::string check_parts() {
    for (std::size_t i = 0; i < plan_.extents.size(); ++i) {
      const Extent& extent = plan_.extents[i];
      for (const Part& part : plan_.parts_of(extent)) {
        const std::string violation = extent.in_place ? check_unmoved(part) : check_moved(extent, part);
        if (!violation.empty()) return fmt::format("extent {}, its part for device {}: {}", i, part.device, violation);
      }
    }
    return {};
  }

  static std::string check_unmoved(const Part& part) {
    return part.copies != 0 || part.launches != 0 || part.goes_to_scratch() ? "moved, but read in place" : "";
  }

  std::string check_moved(const Extent& extent, const Part& part) const {
    std::uint64_t copies = 0;
    std::uint64_t casts = 0;
    bool short_rows = false;
    std::uint64_t last_end = 0;
    const Delivery* run = nullptr;  // that the next may continue
    for (const Delivery& delivery : plan_.deliveries_of(part)) {
      last_end = std::max<std::uint64_t>(
          last_end,
          delivery.source_offset + std::uint64_t{delivery.rows - 1} * delivery.source_stride + delivery.run_bytes);
      if (plan_.is_cast(delivery)) {
        ++casts;
        continue;
      }
      const bool continues = run != nullptr && run->rows == 1 && delivery.rows == 1 &&
                             run->source_offset + run->run_bytes == delivery.source_offset &&
                             run->target_offset + run->run_bytes == delivery.target_offset &&
                             plan_.placements[run->placement].region == plan_.placements[delivery.placement].region;
      copies += continues ? 0 : 1;
      short_rows = short_rows || (delivery.rows > 1 && delivery.run_bytes < limits::copy_row_bytes_min);
      run = &delivery;
    }
    const bool few = casts == 0 && copies <= limits::copies_per_extent_max && !short_rows;
    if (plan_.devices[part.device].kind == DeviceId::Kind::host || few) {
      if (part.copies != copies || part.launches != casts) return "copies or launches are wrong";
      return part.goes_to_scratch() ? "to scratch for no reason" : "";
    }
    return check_scratch(extent, part, last_end);
  }

  std::string check_scratch(const Extent& extent, const Part& part, std::uint64_t last_end) const {
    const std::uint64_t before = part.first_delivery - plan_.parts_of(extent).front().first_delivery;
    const std::uint64_t first = plan_.deliveries_of(part).front().source_offset;
    if (part.scratch_begin != first / 16 * 16) return "scratch begins elsewhere";
    if (part.scratch_end != (last_end + 15) / 16 * 16) return "scratch ends elsewhere";
    if (part.table_begin != (extent.bytes + 15ull) / 16 * 16 + before * 40) return "its table begins elsewhere";
    const std::uint64_t gap = part.table_begin - part.scratch_end;
    const bool along = before == 0 && gap <= limits::copy_gap_bytes_max;  // the table, and no other part's
    const std::uint32_t copies = part.gathered ? 1 + count_gathers(part) : along ? 1 : 2;
    if (part.launches != 1 || part.copies != copies) return "copies or launches are wrong";
    if (has_tables() && part.table_begin + std::uint64_t{part.delivery_count} * 40 > plan_.slab_bytes) {
      return fmt::format("no room for the table of {} deliveries", part.delivery_count);
    }
    return {};
  }

  // Every byte that a delivery needs is in one of them: that they are few enough is make_part()'s business.
  std::uint32_t count_gathers(const Part& part) const {
    std::uint32_t count = 0;
    gather(plan_.deliveries_of(part), [&count](const Gather&) { ++count; });
    return count;
  }

  std::string check_delivery(const Extent& extent, const Delivery* before, const Delivery& delivery) {
    if (delivery.placement >= plan_.placements.size()) return "no such placement";
    const Placement& placement = plan_.placements[delivery.placement];
    if (delivery.rows == 0 || delivery.run_bytes == 0) return "of no bytes";
    const std::uint64_t source_end =
        delivery.source_offset + std::uint64_t{delivery.rows - 1} * delivery.source_stride + delivery.run_bytes;
    if (source_end > extent.bytes) return "reaches out of its extent";
    if (before != nullptr && before->source_offset > delivery.source_offset) return "begins before the one before it";
    const std::uint64_t source_unit = plan_.is_cast(delivery) ? bits(delivery.source_dtype) / 8 : 1;
    if (delivery.run_bytes % source_unit != 0) return "splits an element";
    for (std::uint64_t row = 0; row < delivery.rows; ++row) {
      const std::uint64_t source = extent.offset + delivery.source_offset + row * delivery.source_stride;
      const std::uint64_t target = delivery.target_offset + row * delivery.target_stride - placement.arena_offset;
      std::string violation = check_row(extent.shard, delivery, source, target);
      if (!violation.empty()) return violation;
    }
    ++counted_[delivery.placement];
    return {};
  }

  // One row must be the next part of one of the routes to its placement. Extents come in file order, so the parts of a
  // route do.
  std::string check_row(std::uint32_t shard, const Delivery& delivery, std::uint64_t source, std::uint64_t target) {
    std::string violation = "of another shard, or not the next part of its tensor";
    const std::span<const PlacementRoute> routes = routes_of(delivery.placement);
    // Backwards from where it lies: most routes do not overlap.
    const auto behind = std::partition_point(routes.begin(), routes.end(), [&](const PlacementRoute& to) {
      return std::pair(plan_.routes[to.second].shard, plan_.routes[to.second].begin) <= std::pair(shard, source);
    });
    for (auto at = behind; at != routes.begin();) {
      const PlacementRoute& to = *--at;
      const Route& route = plan_.routes[to.second];
      if (route.shard != shard) break;
      if (source >= route.end) continue;
      if (route.dtype != delivery.source_dtype) {
        violation = "of another dtype than its tensor";
        continue;
      }
      std::uint64_t rest = source - route.begin;
      std::uint64_t before = 0;  // bytes of the route that come before
      std::uint64_t place = plan_.path_of(route).target;
      for (const Loop& loop : plan_.loops_of(route)) {
        const std::uint64_t index = rest / loop.source_stride;
        rest -= index * loop.source_stride;
        before = before * loop.count + index;
        place += index * loop.target_stride;
      }
      const std::uint64_t run_bytes = run_bytes_of(route, plan_.loops_of(route));
      if (rest + delivery.run_bytes > run_bytes) {
        violation = "reaches out of a run of its tensor";
        continue;
      }
      before = before * run_bytes + rest;
      place += delivered_bytes(rest, route.dtype, plan_.placements[delivery.placement].dtype);
      std::uint64_t& routed = routed_[static_cast<std::size_t>(&to - by_placement_.data())];
      if (routed != before) {
        violation = "not the next part of its tensor";
      } else if (place != target) {
        violation = "not to where its bytes belong";
      } else {
        routed += delivery.run_bytes;
        return {};
      }
    }
    return violation;
  }

  // Whether all of the extent belongs, as it is, to one host arena, where direct reads can put it.
  bool is_identity(const Extent& extent) const {
    const std::span<const Delivery> deliveries = plan_.deliveries_of(extent);
    const std::uint64_t target = deliveries.front().target_offset;
    if (target % block_bytes != 0) return false;
    std::uint64_t bytes = 0;
    for (const Delivery& delivery : deliveries) {
      const Placement& placement = plan_.placements[delivery.placement];
      if (plan_.devices[placement.device] != host() || plan_.is_cast(delivery) || delivery.rows != 1) return false;
      if (placement.region != 0) return false;
      if (delivery.source_offset != bytes || delivery.target_offset != target + bytes) return false;
      bytes += delivery.run_bytes;
    }
    return bytes == extent.bytes;
  }

  std::string check_completeness() {
    for (std::size_t i = 0; i < by_placement_.size(); ++i) {
      const std::uint64_t bytes = source_bytes(plan_.routes[by_placement_[i].second]);
      if (routed_[i] != bytes) {
        return fmt::format("placement {}: {} of {} bytes are delivered", by_placement_[i].first, routed_[i], bytes);
      }
    }
    for (std::size_t i = 0; i < plan_.placements.size(); ++i) {
      if (counted_[i] != plan_.placements[i].deliveries) {
        return fmt::format("placement {}: {} deliveries, not {}", i, counted_[i], plan_.placements[i].deliveries);
      }
    }
    return {};
  }

  std::string check_costs() {
    PlanCosts recount;
    recount.extents = plan_.extents.size();
    recount.deliveries = plan_.deliveries.size();
    for (const Extent& extent : plan_.extents) {
      recount.read_bytes += extent.bytes;
      recount.in_place_extents += extent.in_place ? 1 : 0;
    }
    for (const Part& part : plan_.parts) {
      recount.copies += part.copies;
      recount.launches += part.launches;
    }
    for (const Placement& placement : plan_.placements) recount.delivered_bytes += placement.bytes;

    constexpr std::pair<const char*, std::uint64_t PlanCosts::*> counts[] = {
        {"read_bytes", &PlanCosts::read_bytes}, {"delivered_bytes", &PlanCosts::delivered_bytes},
        {"extents", &PlanCosts::extents},       {"in_place_extents", &PlanCosts::in_place_extents},
        {"deliveries", &PlanCosts::deliveries}, {"copies", &PlanCosts::copies},
        {"launches", &PlanCosts::launches},
    };
    for (const auto& [what, count] : counts) {
      if (plan_.costs.*count != recount.*count) return fmt::format("{} is wrong", what);
    }
    const std::uint64_t staging_bytes = plan_.costs.staging_bytes;
    const std::uint64_t staged_extents = recount.extents - recount.in_place_extents;
    const bool fits = staging_bytes % plan_.slab_bytes == 0 && staging_bytes <= staged_extents * plan_.slab_bytes;
    return fits && (staging_bytes != 0 || staged_extents == 0) ? "" : "staging_bytes is wrong";
  }

  std::string check_costs_by_device() {
    std::vector<std::uint64_t> tensors(plan_.devices.size());
    for (const Placement& placement : plan_.placements) ++tensors[placement.device];
    std::vector<std::uint64_t> scratch_bytes(plan_.devices.size());
    for (const Part& part : plan_.parts) {
      if (part.goes_to_scratch() && plan_.devices[part.device].kind == DeviceId::Kind::cuda) {
        scratch_bytes[part.device] = scratch_slabs * plan_.slab_bytes;
      }
    }
    for (std::size_t i = 0; i < plan_.devices.size(); ++i) {
      const PlanCosts::OnDevice& on = plan_.costs.devices[i];
      if (on.tensors != tensors[i]) return "tensors of a device is wrong";
      if (on.arena_bytes % block_bytes != 0) return "arena_bytes is no multiple of a block";
      if (on.scratch_bytes != scratch_bytes[i]) return "scratch_bytes is wrong";
    }
    return {};
  }

  // That pieces are as the comment of ArenaPiece words it, and tell what lies in them.
  std::string check_pieces() {
    if (plan_.budget_bytes == 0) return plan_.pieces.empty() ? "" : "pieces without a budget";
    for (std::size_t i = 0; i < plan_.pieces.size(); ++i) {
      const std::string violation = check_piece(i);
      if (!violation.empty()) return fmt::format("piece {}: {}", i, violation);
    }
    for (std::size_t i = 0; i < plan_.placements.size(); ++i) {
      const Placement& placement = plan_.placements[i];
      if (placement.region != 0 || placement.bytes == 0) continue;
      const auto holds = [&](const ArenaPiece& piece) { return is_in(piece, placement); };
      if (std::count_if(plan_.pieces.begin(), plan_.pieces.end(), holds) != 1) {
        return fmt::format("placement {}: in no piece, or not as a whole", i);
      }
    }
    return {};
  }

  static bool is_in(const ArenaPiece& piece, const Placement& placement) {
    return placement.region == 0 && placement.bytes != 0 && placement.device == piece.device &&
           placement.arena_offset >= piece.offset &&
           placement.arena_offset + placement.bytes <= piece.offset + piece.bytes;
  }

  std::string check_piece(std::size_t i) const {
    const ArenaPiece& piece = plan_.pieces[i];
    if (piece.device >= plan_.devices.size()) return "of no device";
    if (piece.bytes == 0 || piece.offset % limits::piece_bytes_unit != 0 || piece.bytes % limits::piece_bytes_unit != 0)
      return "not in whole units";
    if (piece.offset + piece.bytes > plan_.costs.devices[piece.device].arena_bytes) return "outside its arena";
    if (i != 0) {
      const ArenaPiece& before = plan_.pieces[i - 1];
      if (std::pair(before.device, before.offset + (before.device == piece.device ? before.bytes : 0)) >
          std::pair(piece.device, piece.offset)) {
        return "not behind the one before it";
      }
    }
    std::uint32_t placements = 0;
    for (const Placement& placement : plan_.placements) placements += is_in(piece, placement) ? 1 : 0;
    if (placements == 0 || piece.placements != placements) return "holds another number of tensors";
    if (piece.bytes > plan_.piece_bytes && placements != 1) return "longer than pieces are";
    return check_extents_of(piece);
  }

  std::string check_extents_of(const ArenaPiece& piece) const {
    std::uint32_t first = UINT32_MAX;
    std::uint32_t last = 0;
    for (std::uint32_t i = 0; i < plan_.extents.size(); ++i) {
      const std::span<const Delivery> deliveries = plan_.deliveries_of(plan_.extents[i]);
      const bool brings = std::any_of(deliveries.begin(), deliveries.end(), [&](const Delivery& delivery) {
        return is_in(piece, plan_.placements[delivery.placement]);
      });
      if (!brings) continue;
      first = std::min(first, i);
      last = i;
    }
    if (first == UINT32_MAX) first = 0;
    return piece.first_extent == first && piece.last_extent == last ? "" : "its extents are others";
  }

  // A load whose caller drops what has arrived gets along with the peak, which keeps to the budget and the largest
  // tensor; a piece has up to a unit more than its tensors, and one is held while another is read.
  std::string check_peaks() {
    for (std::size_t device = 0; device < plan_.devices.size(); ++device) {
      const PlanCosts::OnDevice& on = plan_.costs.devices[device];
      if (on.arena_peak_bytes > on.arena_bytes) return "arena_peak_bytes is more than there is";
      if (plan_.budget_bytes == 0) {
        if (on.arena_peak_bytes != on.arena_bytes) return "arena_peak_bytes is not all, without a budget";
        continue;
      }
      const std::uint64_t most = plan_.budget_bytes + largest_on(device) + 2 * limits::piece_bytes_unit;
      if (on.arena_peak_bytes > most) return "arena_peak_bytes exceeds the budget";
      if (on.arena_peak_bytes < std::min(on.arena_bytes, plan_.budget_bytes)) return "arena_peak_bytes is too little";
      for (std::uint32_t extent = 0; extent <= plan_.extents.size(); ++extent) {
        if (bytes_under_way(device, extent) > on.arena_peak_bytes) return "more is under way than arena_peak_bytes";
      }
    }
    return {};
  }

  std::uint64_t largest_on(std::size_t device) const {
    std::uint64_t largest = 0;
    for (const Placement& placement : plan_.placements) {
      if (placement.device == device && placement.region == 0) largest = std::max(largest, placement.bytes);
    }
    return largest;
  }

  std::uint64_t bytes_under_way(std::size_t device, std::uint32_t extent) const {
    std::uint64_t bytes = 0;
    for (const ArenaPiece& piece : plan_.pieces) {
      if (piece.device == device && piece.first_extent <= extent && extent <= piece.last_extent) bytes += piece.bytes;
    }
    return bytes;
  }

  std::uint8_t device_of(const Delivery& delivery) const { return plan_.placements[delivery.placement].device; }

  const PlanData& plan_;
  const BigVector<TensorInfo>& tensors_;
  std::vector<const Extent*> by_file_;
  std::vector<PlacementRoute> by_placement_;
  std::vector<std::uint64_t> routed_;   // by what by_placement_ holds: source bytes that deliveries have taken so far
  std::vector<std::uint32_t> counted_;  // by placement: deliveries
};

}  // namespace

std::string check_plan(const PlanData& plan) {
  return Checker(plan).check();
}

}  // namespace sluice
