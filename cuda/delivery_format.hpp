// The delivery table: what tells the kernel where everything in an extent goes. The host writes it
// (cuda/delivery_table.hpp), cuda/deliver.cu reads it; both include this header, which needs nothing of CUDA.
//
//   table ⊃ pieces; piece ⊃ rows ⊃ vectors; a piece's vectors, row after row, are cut into tiles
//
// - A piece is `rows` runs of `run` elements. It is copied, and then its elements are bytes, or cast.
// - A vector is what one thread moves at once: vector_elements() elements that begin, in the arena, at a multiple of
//   their size together, so that they are stored at once; 16 bytes copied, 8 elements cast. Element i of a row belongs
//   to vector (i + skew) / vector_elements(), where skew is the number of elements from such a multiple to the row's
//   first one. Every row has vectors_of_row() vectors, as many as it needs with the largest skew: the last may have no
//   elements.
// - A tile is what one warp moves: vectors_per_tile vectors one after the other, or what is left of the piece. Tiles
//   are numbered through: a piece has those from its first_tile to the next one's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "loader/device/element_casts.hpp"  // SLUICE_DEVICE

namespace sluice {

struct Piece {
  enum class Element : std::uint8_t { byte, f64, f32, f16, bf16, f8_e4m3, f8_e5m2 };

  std::uint64_t target_offset;  // of the first row, from the arena on, modulo 2^64: the caller's memory is named by it,
                                // too; a multiple of the size of `to`, as the stride is
  std::uint64_t target_stride;  // from one row to the next, in bytes
  std::uint32_t source_offset;  // in the extent; any byte
  std::uint32_t source_stride;
  std::uint32_t run;   // elements of a row, at least 1
  std::uint32_t rows;  // at least 1
  std::uint32_t first_tile;
  Element from;  // both `byte`, or neither
  Element to;
  std::uint16_t unused;  // 0
};
static_assert(sizeof(Piece) == 40 && alignof(Piece) == 8);
static_assert(offsetof(Piece, target_stride) == 8 && offsetof(Piece, source_offset) == 16);
static_assert(offsetof(Piece, source_stride) == 20 && offsetof(Piece, run) == 24 && offsetof(Piece, rows) == 28);
static_assert(offsetof(Piece, first_tile) == 32 && offsetof(Piece, from) == 36 && offsetof(Piece, to) == 37);

// A tile is 2 KiB copied, or 1,024 elements cast: 4 vectors a lane, so that finding the piece and the row, some 150
// instructions with a full table, is no more than moving them. It is small enough for balance: 4 MiB are 2,048 warps,
// on a GPU that runs some thousands at once. A piece of less than a tile still takes a warp, but not a block: 65,536
// pieces of 64 bytes, in 4 MiB, are 8,192 blocks. Each warp waits some 3 us for 16 steps of a search whose upper half
// stays in the cache, and for its vectors; with 4,000 at once that is some 50 us, while the extent and its table, 6.5
// MiB, take 120 us to arrive over PCIe 5.
inline constexpr std::uint32_t vectors_per_tile = 128;
inline constexpr std::uint32_t threads_per_warp = 32;
inline constexpr std::uint32_t threads_per_block = 256;
inline constexpr std::uint32_t tiles_per_block = threads_per_block / threads_per_warp;
static_assert(vectors_per_tile % threads_per_warp == 0);

SLUICE_DEVICE constexpr std::uint32_t vector_elements(Piece::Element to) {
  return to == Piece::Element::byte ? 16 : 8;
}

/// For a row of `run` elements. No more than them, so that a piece has no more vectors, or tiles, than elements.
SLUICE_DEVICE constexpr std::uint32_t vectors_of_row(std::uint32_t run, Piece::Element to) {
  const std::uint32_t width = vector_elements(to);
  return (run + 2 * (width - 1)) / width;
}
static_assert(vectors_of_row(1, Piece::Element::byte) == 1 && vectors_of_row(1, Piece::Element::f32) == 1);
static_assert(vectors_of_row(2, Piece::Element::byte) == 2 && vectors_of_row(2, Piece::Element::f32) == 2);

}  // namespace sluice
