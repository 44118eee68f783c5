#include "loader/plan/make_part.hpp"

#include <algorithm>

#include "loader/base/alignment.hpp"
#include "loader/base/limits.hpp"
#include "loader/plan/kernel_table.hpp"

namespace sluice {
namespace {

// Runs that stay as they are, and casts.
struct Counts {
  std::uint32_t runs = 0;
  std::uint32_t casts = 0;
  void operator()(const Copy&) { ++runs; }
  void operator()(const Delivery&) { ++casts; }
};

void send_to_scratch(const PlanData& plan, const Extent& extent, std::uint32_t deliveries_before, Part& part) {
  const std::span<const Delivery> deliveries = plan.deliveries_of(part);
  std::uint64_t end = 0;
  for (const Delivery& delivery : deliveries) {
    const std::uint64_t rows_bytes = std::uint64_t{delivery.rows - 1} * delivery.source_stride + delivery.run_bytes;
    end = std::max(end, align_up(delivery.source_offset + rows_bytes, table_alignment_bytes));
  }
  part.scratch_begin = static_cast<std::uint32_t>(align_down(deliveries.front().source_offset, table_alignment_bytes));
  part.scratch_end = static_cast<std::uint32_t>(end);
  // Each device's table has a place of its own, so that none is written while another is copied.
  part.table_begin =
      static_cast<std::uint32_t>(align_up(extent.bytes, table_alignment_bytes) + deliveries_before * table_entry_bytes);
  part.copies = part.table_begin - part.scratch_end <= limits::copy_gap_bytes_max ? 1 : 2;
  part.launches = 1;
}

}  // namespace

Part make_part(const PlanData& plan, const Extent& extent, std::uint8_t device, DeliveryRange deliveries,
               std::uint32_t deliveries_before) {
  Part part;
  part.first_delivery = deliveries.first;
  part.delivery_count = deliveries.count;
  part.device = device;
  if (extent.in_place) return part;
  Counts counts;
  coalesce(plan, plan.deliveries_of(part), counts);
  const bool few = counts.casts == 0 && counts.runs <= limits::copies_per_extent_max;
  if (plan.devices[device].kind == DeviceId::Kind::host || few) {
    part.copies = counts.runs;
    part.launches = counts.casts;
  } else {
    send_to_scratch(plan, extent, deliveries_before, part);
  }
  return part;
}

}  // namespace sluice
