// write_delivery_table(): the deliveries of one extent to one device as the kernel reads them. Pure functions; any
// thread.
//
//   slab    | extent's bytes | .. | table |      one copy takes all of it to scratch; the table is aligned to 16
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "cuda/delivery_format.hpp"
#include "loader/base/alignment.hpp"
#include "loader/device/targets.hpp"
#include "loader/plan/kernel_table.hpp"
#include "loader/plan/plan.hpp"

namespace sluice {

/// Where in the slab, and in scratch, the table of an extent of so many bytes begins.
constexpr std::uint64_t table_offset(std::uint64_t extent_bytes) noexcept {
  return align_up(extent_bytes, table_alignment_bytes);
}

/// Bytes of a table of so many pieces. A delivery makes at most one piece: this is also a bound for so many deliveries.
constexpr std::uint64_t table_bytes(std::uint64_t pieces) noexcept {
  return pieces * sizeof(Piece);
}

struct DeliveryTable {
  std::uint32_t pieces = 0;
  std::uint32_t tiles = 0;

  /// The grid of the launch; one block, which does nothing, for an empty table.
  constexpr std::uint32_t blocks() const noexcept {
    return tiles == 0 ? 1 : (tiles + tiles_per_block - 1) / tiles_per_block;
  }
};

/// Writes the table to the start of `room`, which may be aligned to any byte. Deliveries that continue each other in
/// extent and arena, and are cast alike, become one piece. `deliveries` are of one extent and one device, as
/// PlanData::deliveries_of() gives them. Nothing where `room` is too small; table_bytes(deliveries.size()) is enough.
std::optional<DeliveryTable> write_delivery_table(const PlanData& plan, const Targets& targets,
                                                  std::span<const Delivery> deliveries,
                                                  std::span<std::byte> room) noexcept;

}  // namespace sluice
