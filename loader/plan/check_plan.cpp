#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <string>
#include <utility>
#include <vector>

#include "loader/base/limits.hpp"
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
         {&Checker::check_frame, &Checker::check_placements, &Checker::check_overlaps, &Checker::check_extents,
          &Checker::check_order, &Checker::check_deliveries, &Checker::check_completeness, &Checker::check_parts,
          &Checker::check_costs, &Checker::check_costs_by_device}) {
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
    for (std::size_t i = 0; i < plan_.placements.size(); ++i) {
      const Placement& placement = plan_.placements[i];
      if (placement.tensor >= tensors_.size()) return fmt::format("placement {}: no tensor {}", i, placement.tensor);
      if (placement.device >= plan_.devices.size()) return fmt::format("placement {}: no such device", i);
      if (i != 0) {
        const Placement& before = plan_.placements[i - 1];
        if (std::pair(before.tensor, before.device) >= std::pair(placement.tensor, placement.device)) {
          return fmt::format("placement {}: not in order of tensor and device", i);
        }
      }
      const TensorInfo& tensor = tensors_[placement.tensor];
      std::uint64_t bytes = tensor.bytes;
      if (is_cast(placement)) {
        if (!is_castable(tensor.dtype) || !is_castable(placement.dtype)) {
          return fmt::format("placement {}: no cast from {} to {}", i, name(tensor.dtype), name(placement.dtype));
        }
        bytes = bytes / (bits(tensor.dtype) / 8) * (bits(placement.dtype) / 8);
      }
      if (placement.bytes != bytes) return fmt::format("placement {}: {} bytes, not {}", i, placement.bytes, bytes);
      const std::uint64_t arena_bytes = plan_.costs.devices[placement.device].arena_bytes;
      if (placement.bytes > arena_bytes || placement.arena_offset > arena_bytes - placement.bytes) {
        return fmt::format("placement {}: outside its arena", i);
      }
      if (placement.arena_offset % promised_alignment(placement) != 0) {
        return fmt::format("placement {}: at {}, not aligned to {}", i, placement.arena_offset,
                           promised_alignment(placement));
      }
    }
    return {};
  }

  bool is_cast(const Placement& placement) const { return placement.dtype != tensors_[placement.tensor].dtype; }

  // As sluice/request.hpp words it.
  std::uint64_t promised_alignment(const Placement& placement) const {
    const TensorInfo& tensor = tensors_[placement.tensor];
    if (placement.bytes == 0) return 1;
    if (plan_.alignment_bytes != 0) return plan_.alignment_bytes;
    std::uint64_t promise = std::min<std::uint64_t>(256, std::bit_floor(placement.bytes));
    if (plan_.devices[placement.device].kind == DeviceId::Kind::host && !is_cast(placement)) {
      while (tensor.offset % promise != 0) promise /= 2;
    }
    return std::max<std::uint64_t>(promise, natural_alignment(placement.dtype));
  }

  std::string check_overlaps() {
    std::vector<const Placement*> by_place;
    by_place.reserve(plan_.placements.size());
    for (const Placement& placement : plan_.placements) {
      if (placement.bytes != 0) by_place.push_back(&placement);
    }
    std::sort(by_place.begin(), by_place.end(), [](const Placement* a, const Placement* b) {
      return std::pair(a->device, a->arena_offset) < std::pair(b->device, b->arena_offset);
    });
    for (std::size_t i = 1; i < by_place.size(); ++i) {
      const Placement& before = *by_place[i - 1];
      const Placement& after = *by_place[i];
      if (before.device == after.device && before.arena_offset + before.bytes > after.arena_offset) {
        return fmt::format("placements of \"{}\" and \"{}\" overlap", tensors_[before.tensor].name,
                           tensors_[after.tensor].name);
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
      if (i != 0) {
        const Extent& before = plan_.extents[i - 1];
        if (std::pair(before.shard, before.offset + before.bytes) > std::pair(extent.shard, extent.offset)) {
          return fmt::format("extent {}: not behind the one before it", i);
        }
      }
      const std::uint64_t end = extent.offset + extent.bytes;
      const bool aligned = extent.offset % block_bytes == 0 && (end % block_bytes == 0 || end == file_bytes);
      if (aligned != extent.aligned) return fmt::format("extent {}: wrongly says whether it is aligned", i);
      if (!aligned && extent.in_place) return fmt::format("extent {}: in place, but not aligned", i);
      if (!aligned && !may_begin_at(extent.shard, extent.offset)) return fmt::format("extent {}: begins unaligned", i);
      if (!aligned && end != file_bytes && !may_begin_at(extent.shard, end)) {
        return fmt::format("extent {}: ends unaligned", i);
      }
    }
    return {};
  }

  bool has_tables() const {
    return std::any_of(plan_.devices.begin(), plan_.devices.end(),
                       [](DeviceId device) { return device.kind == DeviceId::Kind::cuda; });
  }

  // Whether an extent may begin, or end, at this byte of a shard: at a block, where the block would split an element of
  // a tensor that is cast, or, where tables bound the number of deliveries, with a tensor.
  bool may_begin_at(std::uint32_t shard, std::uint64_t offset) const {
    if (offset % block_bytes == 0) return true;
    const std::uint64_t block = offset + block_bytes - offset % block_bytes;
    const auto place_of = [this](const Placement& placement) {
      const TensorInfo& tensor = tensors_[placement.tensor];
      return std::pair(tensor.shard, tensor.offset + tensor.bytes);
    };
    const auto found = std::partition_point(
        plan_.placements.begin(), plan_.placements.end(),
        [&](const Placement& placement) { return place_of(placement) <= std::pair(shard, offset); });
    if (found == plan_.placements.end()) return false;
    const TensorInfo& tensor = tensors_[found->tensor];
    if (has_tables() && tensor.shard == shard && tensor.offset == offset) return true;
    const std::uint64_t element_bytes = bits(tensor.dtype) / 8;
    return is_cast(*found) && tensor.shard == shard && tensor.offset <= offset &&
           (offset - tensor.offset) % element_bytes == 0 && block - offset < element_bytes;
  }

  // Parts and deliveries follow the order of extents, without a gap; each part is of one device.
  std::string check_order() {
    std::uint64_t next_part = 0;
    std::uint64_t next_delivery = 0;
    for (std::size_t i = 0; i < plan_.extents.size(); ++i) {
      const Extent& extent = plan_.extents[i];
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
    return {};
  }

  std::string check_deliveries() {
    delivered_.assign(plan_.placements.size(), 0);
    counted_.assign(plan_.placements.size(), 0);
    for (std::size_t i = 0; i < plan_.extents.size(); ++i) {
      const Extent& extent = plan_.extents[i];
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
    std::uint64_t runs = 0;
    std::uint64_t casts = 0;
    std::uint64_t source_end = 0;  // of the run so far
    std::uint64_t target_end = 0;
    std::uint64_t last_end = 0;
    for (const Delivery& delivery : plan_.deliveries_of(part)) {
      const bool cast = plan_.is_cast(delivery);
      casts += cast ? 1 : 0;
      for (std::uint64_t row = 0; row < delivery.rows; ++row) {
        const std::uint64_t source = delivery.source_offset + row * delivery.source_stride;
        const std::uint64_t target = delivery.target_offset + row * delivery.target_stride;
        last_end = source + delivery.run_bytes;
        if (cast) continue;
        const bool continues = runs != 0 && source == source_end && target == target_end;
        runs += continues ? 0 : 1;
        source_end = source + delivery.run_bytes;
        target_end = target + delivery.run_bytes;
      }
    }
    const bool few = casts == 0 && runs <= limits::copies_per_extent_max;
    if (plan_.devices[part.device].kind == DeviceId::Kind::host || few) {
      if (part.copies != runs || part.launches != casts) return "copies or launches are wrong";
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
    if (part.launches != 1 || part.copies != (gap <= limits::copy_gap_bytes_max ? 1 : 2)) {
      return "copies or launches are wrong";
    }
    if (has_tables() && part.table_begin + std::uint64_t{part.delivery_count} * 40 > plan_.slab_bytes) {
      return fmt::format("no room for the table of {} deliveries", part.delivery_count);
    }
    return {};
  }

  std::string check_delivery(const Extent& extent, const Delivery* before, const Delivery& delivery) {
    if (delivery.placement >= plan_.placements.size()) return "no such placement";
    const Placement& placement = plan_.placements[delivery.placement];
    const TensorInfo& tensor = tensors_[placement.tensor];
    if (tensor.shard != extent.shard) return "of another shard";
    if (delivery.source_dtype != tensor.dtype) return "of another dtype than its tensor";
    if (delivery.rows == 0 || delivery.run_bytes == 0) return "of no bytes";
    const std::uint64_t source_end =
        delivery.source_offset + std::uint64_t{delivery.rows - 1} * delivery.source_stride + delivery.run_bytes;
    if (source_end > extent.bytes) return "reaches out of its extent";
    if (before != nullptr) {
      const std::uint64_t end_before =
          before->source_offset + std::uint64_t{before->rows - 1} * before->source_stride + before->run_bytes;
      if (end_before > delivery.source_offset) return "not behind the one before it";
    }

    const bool cast = is_cast(placement);
    const std::uint64_t source_unit = cast ? bits(tensor.dtype) / 8 : 1;
    const std::uint64_t target_unit = cast ? bits(placement.dtype) / 8 : 1;
    std::uint64_t& delivered = delivered_[delivery.placement];
    for (std::uint64_t row = 0; row < delivery.rows; ++row) {
      const std::uint64_t source = extent.offset + delivery.source_offset + row * delivery.source_stride;
      const std::uint64_t target = delivery.target_offset + row * delivery.target_stride;
      // Extents come in file order, so the parts of a tensor do.
      if (source != tensor.offset + delivered) return "not the next part of its tensor";
      if (delivery.run_bytes % source_unit != 0) return "splits an element";
      if (target != placement.arena_offset + delivered / source_unit * target_unit)
        return "not to where its bytes belong";
      delivered += delivery.run_bytes;
      if (delivered > tensor.bytes) return "reaches out of its tensor";
    }
    ++counted_[delivery.placement];
    return {};
  }

  // Whether all of the extent belongs, as it is, to one host arena, where direct reads can put it.
  bool is_identity(const Extent& extent) const {
    const std::span<const Delivery> deliveries = plan_.deliveries_of(extent);
    const std::uint64_t target = deliveries.front().target_offset;
    if (target % block_bytes != 0) return false;
    std::uint64_t bytes = 0;
    for (const Delivery& delivery : deliveries) {
      const Placement& placement = plan_.placements[delivery.placement];
      if (plan_.devices[placement.device] != host() || is_cast(placement) || delivery.rows != 1) return false;
      if (delivery.source_offset != bytes || delivery.target_offset != target + bytes) return false;
      bytes += delivery.run_bytes;
    }
    return bytes == extent.bytes;
  }

  std::string check_completeness() {
    for (std::size_t i = 0; i < plan_.placements.size(); ++i) {
      const Placement& placement = plan_.placements[i];
      if (delivered_[i] != tensors_[placement.tensor].bytes) {
        return fmt::format("placement {}: {} of {} bytes are delivered", i, delivered_[i],
                           tensors_[placement.tensor].bytes);
      }
      if (counted_[i] != placement.deliveries) {
        return fmt::format("placement {}: {} deliveries, not {}", i, counted_[i], placement.deliveries);
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

  std::uint8_t device_of(const Delivery& delivery) const { return plan_.placements[delivery.placement].device; }

  const PlanData& plan_;
  const BigVector<TensorInfo>& tensors_;
  std::vector<std::uint64_t> delivered_;  // by placement: source bytes that deliveries have taken so far
  std::vector<std::uint32_t> counted_;    // by placement: deliveries
};

}  // namespace

std::string check_plan(const PlanData& plan) {
  return Checker(plan).check();
}

}  // namespace sluice
