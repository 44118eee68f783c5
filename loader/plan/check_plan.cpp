#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <string>
#include <vector>

#include "loader/base/alignment.hpp"
#include "loader/base/limits.hpp"
#include "loader/plan/plan.hpp"

namespace sluice {
namespace {

constexpr std::uint64_t block_bytes = limits::direct_alignment_bytes;

// Each function describes the first violation that it meets, or returns an empty string.
class Checker {
 public:
  explicit Checker(const PlanData& plan) : plan_(plan), tensors_(plan.catalogue->tensors) {}

  std::string check() {
    for (const auto step :
         {&Checker::check_frame, &Checker::check_placements, &Checker::check_overlaps, &Checker::check_extents,
          &Checker::check_deliveries, &Checker::check_completeness, &Checker::check_costs}) {
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
      if (plan_.is_cast(placement)) {
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

  // As sluice/request.hpp words it.
  std::uint64_t promised_alignment(const Placement& placement) const {
    const TensorInfo& tensor = tensors_[placement.tensor];
    if (placement.bytes == 0) return 1;
    if (plan_.alignment_bytes != 0) return plan_.alignment_bytes;
    std::uint64_t promise = std::min<std::uint64_t>(256, std::bit_floor(placement.bytes));
    if (plan_.devices[placement.device].kind == DeviceId::Kind::host && !plan_.is_cast(placement)) {
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
      const std::uint64_t table_bytes = extent.delivery_count * table_entry_bytes;
      if (has_tables() && align_up(extent.bytes, delivery_table_alignment_bytes) + table_bytes > plan_.slab_bytes) {
        return fmt::format("extent {}: no room for the table of {} deliveries", i, extent.delivery_count);
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
    return plan_.is_cast(*found) && tensor.shard == shard && tensor.offset <= offset &&
           (offset - tensor.offset) % element_bytes == 0 && block - offset < element_bytes;
  }

  std::string check_deliveries() {
    delivered_.assign(plan_.placements.size(), 0);
    counted_.assign(plan_.placements.size(), 0);
    std::uint64_t next = 0;
    for (std::size_t i = 0; i < plan_.extents.size(); ++i) {
      const Extent& extent = plan_.extents[i];
      if (extent.first_delivery != next || extent.delivery_count == 0 ||
          extent.delivery_count > plan_.deliveries.size() - next) {
        return fmt::format("extent {}: its deliveries do not follow those of the one before it", i);
      }
      next += extent.delivery_count;
      const std::span<const Delivery> deliveries = plan_.deliveries_of(extent);
      for (std::size_t j = 0; j < deliveries.size(); ++j) {
        const Delivery* before = j == 0 ? nullptr : &deliveries[j - 1];
        const std::string violation = check_delivery(extent, before, deliveries[j]);
        if (!violation.empty()) return fmt::format("extent {}, delivery {}: {}", i, j, violation);
      }
      if (extent.in_place && !is_identity(extent)) return fmt::format("extent {}: in place, but no identity", i);
    }
    if (next != plan_.deliveries.size()) return "deliveries of no extent";
    return {};
  }

  std::string check_delivery(const Extent& extent, const Delivery* before, const Delivery& delivery) {
    if (delivery.placement >= plan_.placements.size()) return "no such placement";
    const Placement& placement = plan_.placements[delivery.placement];
    const TensorInfo& tensor = tensors_[placement.tensor];
    if (tensor.shard != extent.shard) return "of another shard";
    if (delivery.rows == 0 || delivery.run_bytes == 0) return "of no bytes";
    const std::uint64_t source_end =
        delivery.source_offset + std::uint64_t{delivery.rows - 1} * delivery.source_stride + delivery.run_bytes;
    if (source_end > extent.bytes) return "reaches out of its extent";
    if (before != nullptr) {
      const std::uint8_t device_before = plan_.placements[before->placement].device;
      if (device_before > placement.device) return "not in order of devices";
      const std::uint64_t end_before =
          before->source_offset + std::uint64_t{before->rows - 1} * before->source_stride + before->run_bytes;
      if (device_before == placement.device && end_before > delivery.source_offset)
        return "not behind the one before it";
    }

    const bool cast = plan_.is_cast(placement);
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
      if (plan_.devices[placement.device] != host() || plan_.is_cast(placement) || delivery.rows != 1) return false;
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
    std::vector<PlanCosts::OnDevice> on_device(plan_.devices.size());
    std::vector<bool> launches(plan_.devices.size());
    for (const Extent& extent : plan_.extents) {
      recount.read_bytes += extent.bytes;
      recount.in_place_extents += extent.in_place ? 1 : 0;
      std::span<const Delivery> rest = plan_.deliveries_of(extent);
      while (!rest.empty()) {
        const std::uint8_t device = device_of(rest.front());
        const auto end = std::find_if(rest.begin(), rest.end(),
                                      [&](const Delivery& delivery) { return device_of(delivery) != device; });
        const auto count = static_cast<std::size_t>(end - rest.begin());
        const ExtentCost cost = cost_of(plan_, extent, rest.first(count));
        recount.copies += cost.copies;
        recount.launches += cost.launches;
        if (cost.launches != 0) launches[device] = true;
        rest = rest.subspan(count);
      }
    }
    for (const Placement& placement : plan_.placements) {
      recount.delivered_bytes += placement.bytes;
      ++on_device[placement.device].tensors;
    }
    const PlanCosts& costs = plan_.costs;
    if (costs.read_bytes != recount.read_bytes) return "read_bytes is wrong";
    if (costs.delivered_bytes != recount.delivered_bytes) return "delivered_bytes is wrong";
    if (costs.extents != recount.extents) return "extents is wrong";
    if (costs.in_place_extents != recount.in_place_extents) return "in_place_extents is wrong";
    if (costs.deliveries != recount.deliveries) return "deliveries is wrong";
    if (costs.copies != recount.copies) return "copies is wrong";
    if (costs.launches != recount.launches) return "launches is wrong";
    const std::uint64_t staged_extents = recount.extents - recount.in_place_extents;
    if (costs.staging_bytes % plan_.slab_bytes != 0 || costs.staging_bytes > staged_extents * plan_.slab_bytes ||
        (costs.staging_bytes == 0 && staged_extents != 0)) {
      return "staging_bytes is wrong";
    }
    for (std::size_t i = 0; i < plan_.devices.size(); ++i) {
      if (costs.devices[i].tensors != on_device[i].tensors) return "tensors of a device is wrong";
      if (costs.devices[i].arena_bytes % block_bytes != 0) return "arena_bytes is no multiple of a block";
      const bool needs_scratch = launches[i] && plan_.devices[i].kind == DeviceId::Kind::cuda;
      if (costs.devices[i].scratch_bytes != (needs_scratch ? scratch_slabs * plan_.slab_bytes : 0)) {
        return "scratch_bytes is wrong";
      }
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
