#include "cuda/delivery_table.hpp"

#include <cassert>
#include <cstring>

#include "loader/base/limits.hpp"

namespace sluice {
namespace {

// Deliveries of an extent share no element, so a table has no more elements, hence tiles, than the longest extent has
// bytes. Tile numbers, rounded up to whole blocks, fit into 31 bits then, which is also what a grid may have of blocks.
static_assert(limits::slab_bytes_max + tiles_per_block <= 1ull << 31);
// The longest row's number of vectors is worked out without wrapping.
static_assert(limits::slab_bytes_max + 2 * 16 <= UINT32_MAX);

Piece::Element element_of(Dtype dtype) noexcept {
  switch (dtype) {
    case f64:
      return Piece::Element::f64;
    case f32:
      return Piece::Element::f32;
    case f16:
      return Piece::Element::f16;
    case bf16:
      return Piece::Element::bf16;
    case f8_e4m3:
      return Piece::Element::f8_e4m3;
    case f8_e5m2:
      return Piece::Element::f8_e5m2;
    default:
      assert(!"casts are planned between these only");
      return Piece::Element::byte;
  }
}

// A piece with its lengths in bytes, which Piece leaves to its elements.
struct Stretch {
  Piece piece = {};
  std::uint32_t source_bytes = 0;  // of a row
  std::uint64_t target_bytes = 0;

  bool continues(const Stretch& before) const noexcept {
    return piece.rows == 1 && before.piece.rows == 1 && piece.from == before.piece.from &&
           piece.to == before.piece.to && piece.source_offset == before.piece.source_offset + before.source_bytes &&
           piece.target_offset == before.piece.target_offset + before.target_bytes;
  }
};

Stretch stretch_of(const PlanData& plan, const Targets& targets, const Delivery& delivery) noexcept {
  assert(delivery.run_bytes != 0 && delivery.rows != 0);
  Stretch stretch;
  // The caller's memory may lie before the arena: the kernel's sum wraps, too.
  stretch.piece.target_offset = reinterpret_cast<std::uintptr_t>(targets.base_of(plan.placements[delivery.placement])) +
                                delivery.target_offset - reinterpret_cast<std::uintptr_t>(targets.arena);
  stretch.piece.target_stride = delivery.target_stride;
  stretch.piece.source_offset = delivery.source_offset;
  stretch.piece.source_stride = delivery.source_stride;
  stretch.piece.rows = delivery.rows;
  stretch.piece.run = delivery.run_bytes;
  stretch.source_bytes = delivery.run_bytes;
  stretch.target_bytes = delivery.run_bytes;
  if (plan.is_cast(delivery)) {
    const Dtype to = plan.placements[delivery.placement].dtype;
    stretch.piece.from = element_of(delivery.source_dtype);
    stretch.piece.to = element_of(to);
    stretch.piece.run = delivery.run_bytes / (bits(delivery.source_dtype) / 8);
    stretch.target_bytes = std::uint64_t{stretch.piece.run} * (bits(to) / 8);
  }
  return stretch;
}

class Writer {
 public:
  explicit Writer(std::span<std::byte> room) noexcept : room_(room) {}

  bool add(Piece piece) noexcept {
    if (room_.size() < sizeof piece) return false;
    piece.first_tile = table_.tiles;
    std::memcpy(room_.data(), &piece, sizeof piece);
    room_ = room_.subspan(sizeof piece);
    ++table_.pieces;
    const std::uint32_t vectors = piece.rows * vectors_of_row(piece.run, piece.to);
    table_.tiles += (vectors + vectors_per_tile - 1) / vectors_per_tile;
    return true;
  }

  DeliveryTable table() const noexcept { return table_; }

 private:
  std::span<std::byte> room_;
  DeliveryTable table_;
};

}  // namespace

std::optional<DeliveryTable> write_delivery_table(const PlanData& plan, const Targets& targets,
                                                  std::span<const Delivery> deliveries,
                                                  std::span<std::byte> room) noexcept {
  Writer writer(room);
  if (deliveries.empty()) return writer.table();
  Stretch pending = stretch_of(plan, targets, deliveries.front());
  for (const Delivery& delivery : deliveries.subspan(1)) {
    const Stretch next = stretch_of(plan, targets, delivery);
    if (next.continues(pending)) {
      pending.piece.run += next.piece.run;
      pending.source_bytes += next.source_bytes;
      pending.target_bytes += next.target_bytes;
      continue;
    }
    if (!writer.add(pending.piece)) return std::nullopt;
    pending = next;
  }
  if (!writer.add(pending.piece)) return std::nullopt;
  return writer.table();
}

}  // namespace sluice
