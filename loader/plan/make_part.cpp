#include "loader/plan/make_part.hpp"

#include <algorithm>

#include "loader/base/alignment.hpp"
#include "loader/base/limits.hpp"
#include "loader/plan/gather.hpp"
#include "loader/plan/kernel_table.hpp"

namespace sluice {
namespace {

// Copies of what stays as it is, and casts.
struct Counts {
  std::uint32_t copies = 0;
  std::uint32_t casts = 0;
  std::uint64_t bytes = 0;
  bool short_rows = false;
  void operator()(const Copy& copy) {
    ++copies;
    bytes += std::uint64_t{copy.rows} * copy.bytes;
    short_rows = short_rows || (copy.rows > 1 && copy.bytes < limits::copy_row_bytes_min);
  }
  void operator()(const Delivery&) { ++casts; }
};

// Whether only what is needed is copied, and by how many copies of how many bytes.
void choose_gather(std::span<const Delivery> deliveries, Part& part) {
  std::uint64_t copies = 0;
  std::uint64_t bytes = 0;
  gather(deliveries, [&](const Gather& some) {
    ++copies;
    bytes += std::uint64_t{some.rows} * some.bytes;
  });
  const std::uint64_t all = part.scratch_end - part.scratch_begin;
  constexpr std::uint64_t worth_it = 10;  // a tenth of what is needed
  if (bytes >= all || (all - bytes) * worth_it <= bytes) return;
  if (copies > limits::gathers_max && all - bytes < copies * limits::copy_gap_bytes_max) return;
  part.gathered = true;
  part.link_bytes = bytes;
  part.copies = static_cast<std::uint32_t>(copies) + 1;  // and the table
}

void send_to_scratch(const PlanData& plan, const Extent& extent, std::uint32_t deliveries_before, Part& part) {
  const std::span<const Delivery> deliveries = plan.deliveries_of(part);
  std::uint64_t end = 0;
  for (const Delivery& delivery : deliveries) {
    end = std::max(end, align_up(delivery.source_end(), table_alignment_bytes));
  }
  part.scratch_begin = static_cast<std::uint32_t>(align_down(deliveries.front().source_offset, table_alignment_bytes));
  part.scratch_end = static_cast<std::uint32_t>(end);
  // Each device's table has a place of its own, which no other device's copies reach over: lanes write their tables
  // while others copy.
  part.table_begin =
      static_cast<std::uint32_t>(align_up(extent.bytes, table_alignment_bytes) + deliveries_before * table_entry_bytes);
  part.link_bytes = part.scratch_end - part.scratch_begin;
  part.copies = 2;
  if (deliveries_before == 0 && part.table_begin - part.scratch_end <= limits::copy_gap_bytes_max) {
    part.copies = 1;
    part.link_bytes = part.table_begin - part.scratch_begin;
  }
  part.launches = 1;
  choose_gather(deliveries, part);
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
  const bool few = counts.casts == 0 && counts.copies <= limits::copies_per_extent_max && !counts.short_rows;
  if (plan.devices[device].kind == DeviceId::Kind::host || few) {
    part.copies = counts.copies;
    part.launches = counts.casts;
    part.link_bytes = counts.bytes;
  } else {
    send_to_scratch(plan, extent, deliveries_before, part);
  }
  return part;
}

}  // namespace sluice
