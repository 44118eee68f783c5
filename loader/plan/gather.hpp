// Gathers: the copies that bring to a GPU's scratch what its part of an extent needs, and little else. The plan counts
// them, the lane queues them; what they carry lies in scratch where it lay in the slab. Pure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "loader/base/alignment.hpp"
#include "loader/base/limits.hpp"
#include "loader/plan/kernel_table.hpp"
#include "loader/plan/plan.hpp"

namespace sluice {

struct Gather {
  std::uint32_t offset = 0;  // in the extent
  std::uint32_t bytes = 0;   // of a row
  std::uint32_t stride = 0;  // of rows
  std::uint32_t rows = 1;
};

/// Calls `take(Gather)` for each copy that `deliveries`, those of a part, need: for rows with a pitch, and for what
/// lies close together. In the order of the extent, but for rows, which may reach over what follows.
template <typename Take>
void gather(std::span<const Delivery> deliveries, Take&& take) {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  const auto flush = [&] {
    if (end > begin) take(Gather{static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end - begin), 0, 1});
    end = begin;
  };
  const Delivery* rows = nullptr;  // the last that were taken by themselves
  for (const Delivery& delivery : deliveries) {
    const bool pitched = delivery.rows > 1 && delivery.run_bytes >= limits::gather_row_bytes_min &&
                         delivery.source_stride > delivery.run_bytes + limits::gather_row_bytes_min;
    if (pitched) {
      const bool again = rows != nullptr && rows->source_offset == delivery.source_offset &&
                         rows->source_stride == delivery.source_stride && rows->run_bytes == delivery.run_bytes &&
                         rows->rows == delivery.rows;
      if (!again) take(Gather{delivery.source_offset, delivery.run_bytes, delivery.source_stride, delivery.rows});
      rows = &delivery;
      continue;
    }
    const std::uint64_t first = align_down(delivery.source_offset, table_alignment_bytes);
    const std::uint64_t last = align_up(
        delivery.source_offset + std::uint64_t{delivery.rows - 1} * delivery.source_stride + delivery.run_bytes,
        table_alignment_bytes);
    if (end > begin && first <= end + limits::gather_gap_bytes_max) {
      end = std::max(end, last);
      continue;
    }
    flush();
    begin = first;
    end = last;
  }
  flush();
}

}  // namespace sluice
