// sluice_deliver: brings all that one extent holds for one device from scratch to its places in the arena: copied,
// cast, strided, at any alignment, small and large alike. cuda/delivery_format.hpp says what it is told, and how the
// work is cut.
//
// Grid: a warp a tile, 8 tiles a block of 256 threads. A thread moves one vector at a time: 16 bytes copied, 8 elements
// cast. Neighbouring lanes move neighbouring vectors, so that reads and writes of a warp are coalesced. Reads are 16
// bytes wide and aligned, and shifted into place in registers, whatever the source's alignment. Writes are 16 bytes
// wide (8 for 8 elements of a byte), but for the first and the last vector of a row, which are written element by
// element. Bound: device memory, each byte read about once and written once, which is ten times faster than bytes
// arrive.
//
// One body for every architecture, integers only, no shared memory, no barrier, no call: what a machine without a GPU
// executes from the PTX text is what all architectures are assembled from.
#include <cstdint>

#include "cuda/delivery_format.hpp"
#include "loader/device/element_casts.hpp"

namespace sluice {
namespace {

using Element = Piece::Element;

// Where a thread reads: aligned words of 16 bytes, `at` bytes into the extent. What a vector lacks at the ends of its
// row would be read from beyond them: words that hold nothing of the row are not read, and the nearest is taken in
// their place. So nothing is touched before the extent, nor behind the 16 bytes that hold its last one.
struct Source {
  const uint4* extent;
  std::int32_t first_word;
  std::int32_t last_word;
  std::int32_t at;
};

// Which elements of a vector there are. `begin` may be below 0 and `end` beyond the vector.
struct Range {
  std::int32_t begin;
  std::int32_t end;
};

template <int bytes>
__device__ void read(const Source& source, std::uint32_t (&words)[bytes / 4]) {
  constexpr int count = bytes / 4;
  constexpr int reads = (bytes + 15 + 15) / 16;
  std::uint32_t wide[4 * reads];
#pragma unroll
  for (int i = 0; i < reads; ++i) {
    const std::int32_t word = (source.at >> 4) + i;
    const uint4 four = source.extent[min(max(word, source.first_word), source.last_word)];
    wide[4 * i] = four.x;
    wide[4 * i + 1] = four.y;
    wide[4 * i + 2] = four.z;
    wide[4 * i + 3] = four.w;
  }
  // Registers cannot be indexed: by 8 bytes, then by 4, then by single ones.
#pragma unroll
  for (int i = 0; i < count + 2; ++i) wide[i] = source.at & 8 ? wide[i + 2] : wide[i];
#pragma unroll
  for (int i = 0; i < count + 1; ++i) wide[i] = source.at & 4 ? wide[i + 1] : wide[i];
#pragma unroll
  for (int i = 0; i < count; ++i) words[i] = __funnelshift_r(wide[i], wide[i + 1], 8 * source.at);
}

// Writes `elements` elements of `size` bytes, in `words` one after the other, to a multiple of their size together.
template <int size, int elements>
__device__ void write(const std::uint32_t (&words)[size * elements / 4], const Range& range, std::uint8_t* target) {
  if (range.begin <= 0 && range.end >= elements) {
    if constexpr (size * elements == 8) {
      *reinterpret_cast<uint2*>(target) = make_uint2(words[0], words[1]);
    } else {
#pragma unroll
      for (int i = 0; i < size * elements / 4; i += 4) {
        *reinterpret_cast<uint4*>(target + 4 * i) = make_uint4(words[i], words[i + 1], words[i + 2], words[i + 3]);
      }
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < elements; ++i) {
    if (i < range.begin || i >= range.end) continue;
    if constexpr (size == 8) {
      *reinterpret_cast<uint2*>(target + 8 * i) = make_uint2(words[2 * i], words[2 * i + 1]);
    } else if constexpr (size == 4) {
      *reinterpret_cast<std::uint32_t*>(target + 4 * i) = words[i];
    } else if constexpr (size == 2) {
      *reinterpret_cast<std::uint16_t*>(target + 2 * i) = static_cast<std::uint16_t>(words[i / 2] >> 16 * (i % 2));
    } else {
      target[i] = static_cast<std::uint8_t>(words[i / 4] >> 8 * (i % 4));
    }
  }
}

template <Element from>
__device__ std::uint32_t decode(const std::uint32_t* words, int i) {
  if constexpr (from == Element::f64) {
    return casts::f64_to_f32(static_cast<std::uint64_t>(words[2 * i + 1]) << 32 | words[2 * i]);
  } else if constexpr (from == Element::f32) {
    return words[i];
  } else if constexpr (from == Element::f16) {
    return casts::f16_to_f32(static_cast<std::uint16_t>(words[i / 2] >> 16 * (i % 2)));
  } else if constexpr (from == Element::bf16) {
    return casts::bf16_to_f32(static_cast<std::uint16_t>(words[i / 2] >> 16 * (i % 2)));
  } else if constexpr (from == Element::f8_e4m3) {
    return casts::e4m3_to_f32(static_cast<std::uint8_t>(words[i / 4] >> 8 * (i % 4)));
  } else {
    return casts::e5m2_to_f32(static_cast<std::uint8_t>(words[i / 4] >> 8 * (i % 4)));
  }
}

template <Element from, int size>
__device__ void read_f32(const Source& source, std::uint32_t (&f32)[8]) {
  std::uint32_t words[2 * size];
  read<8 * size>(source, words);
#pragma unroll
  for (int i = 0; i < 8; ++i) f32[i] = decode<from>(words, i);
}

template <Element to>
__device__ std::uint32_t encode(std::uint32_t f32) {
  if constexpr (to == Element::f16) return casts::f32_to_f16(f32);
  if constexpr (to == Element::bf16) return casts::f32_to_bf16(f32);
  if constexpr (to == Element::f8_e4m3) return casts::f32_to_e4m3(f32);
  if constexpr (to == Element::f8_e5m2) return casts::f32_to_e5m2(f32);
}

// For elements of 1 and 2 bytes.
template <Element to, int size>
__device__ void write_f32(const std::uint32_t (&f32)[8], const Range& range, std::uint8_t* target) {
  constexpr int elements_of_word = 4 / size;
  std::uint32_t words[2 * size] = {};
#pragma unroll
  for (int i = 0; i < 8; ++i) words[i / elements_of_word] |= encode<to>(f32[i]) << 8 * size * (i % elements_of_word);
  write<size, 8>(words, range, target);
}

__device__ void write_f64(const std::uint32_t (&f32)[8], const Range& range, std::uint8_t* target) {
  std::uint32_t words[16];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const std::uint64_t f64 = casts::f32_to_f64(f32[i]);
    words[2 * i] = static_cast<std::uint32_t>(f64);
    words[2 * i + 1] = static_cast<std::uint32_t>(f64 >> 32);
  }
  write<8, 8>(words, range, target);
}

__device__ void copy_vector(const Source& source, const Range& range, std::uint8_t* target) {
  std::uint32_t words[4];
  read<16>(source, words);
  write<1, 16>(words, range, target);
}

// Two switches of six rather than thirty casts: a tenth of the code for one branch more, that a whole warp takes.
__device__ void cast_vector(const Piece& piece, const Source& source, const Range& range, std::uint8_t* target) {
  std::uint32_t f32[8];
  switch (piece.from) {
    case Element::f64:
      read_f32<Element::f64, 8>(source, f32);
      break;
    case Element::f32:
      read_f32<Element::f32, 4>(source, f32);
      break;
    case Element::f16:
      read_f32<Element::f16, 2>(source, f32);
      break;
    case Element::bf16:
      read_f32<Element::bf16, 2>(source, f32);
      break;
    case Element::f8_e4m3:
      read_f32<Element::f8_e4m3, 1>(source, f32);
      break;
    default:
      read_f32<Element::f8_e5m2, 1>(source, f32);
  }
  switch (piece.to) {
    case Element::f64:
      return write_f64(f32, range, target);
    case Element::f32:
      return write<4, 8>(f32, range, target);
    case Element::f16:
      return write_f32<Element::f16, 2>(f32, range, target);
    case Element::bf16:
      return write_f32<Element::bf16, 2>(f32, range, target);
    case Element::f8_e4m3:
      return write_f32<Element::f8_e4m3, 1>(f32, range, target);
    default:
      return write_f32<Element::f8_e5m2, 1>(f32, range, target);
  }
}

// Of an element's size in bytes.
__device__ std::uint32_t log2_size(Element element) {
  switch (element) {
    case Element::f64:
      return 3;
    case Element::f32:
      return 2;
    case Element::f16:
    case Element::bf16:
      return 1;
    default:
      return 0;
  }
}

// The last piece whose first tile is not behind `tile`. There is at least one piece, and the first has tile 0.
__device__ const Piece& piece_of(const Piece* pieces, std::uint32_t piece_count, std::uint32_t tile) {
  std::uint32_t first = 0;
  std::uint32_t end = piece_count;
  while (end - first > 1) {
    const std::uint32_t middle = first + (end - first) / 2;
    if (pieces[middle].first_tile <= tile) {
      first = middle;
    } else {
      end = middle;
    }
  }
  return pieces[first];
}

__device__ void move_vector(const std::uint8_t* extent, const Piece& piece, std::uint32_t row, std::uint32_t vector,
                            std::uint8_t* arena) {
  const auto width = static_cast<std::int32_t>(vector_elements(piece.to));
  const std::int32_t source_size = 1 << log2_size(piece.from);
  const std::int32_t target_size = 1 << log2_size(piece.to);
  std::uint8_t* const row_target = arena + piece.target_offset + row * piece.target_stride;
  const auto row_source = static_cast<std::int32_t>(piece.source_offset + row * piece.source_stride);
  const auto run = static_cast<std::int32_t>(piece.run);

  // The row's element at which the vector begins; below 0 where the row begins within the vector.
  const auto skew_bytes = static_cast<std::int32_t>(reinterpret_cast<std::uintptr_t>(row_target) &
                                                    static_cast<std::uintptr_t>(width * target_size - 1));
  const std::int32_t element = static_cast<std::int32_t>(vector) * width - (skew_bytes >> log2_size(piece.to));
  const Range range{-element, run - element};
  if (range.end <= 0) return;

  const Source source{reinterpret_cast<const uint4*>(extent), row_source >> 4,
                      (row_source + run * source_size - 1) >> 4, row_source + element * source_size};
  std::uint8_t* const target = row_target + static_cast<std::int64_t>(element) * target_size;
  if (piece.to == Element::byte) {
    copy_vector(source, range, target);
  } else {
    cast_vector(piece, source, range, target);
  }
}

}  // namespace

/// `extent`: scratch, aligned to 16, readable up to the next multiple of 16 behind the extent's bytes. `pieces`: in
/// device memory too, usually behind it.
extern "C" __global__ void __launch_bounds__(threads_per_block)
    sluice_deliver(const std::uint8_t* __restrict__ extent, const Piece* __restrict__ pieces, std::uint32_t piece_count,
                   std::uint8_t* __restrict__ arena) {
  if (piece_count == 0) return;
  const std::uint32_t tile = blockIdx.x * tiles_per_block + threadIdx.x / threads_per_warp;
  const Piece piece = piece_of(pieces, piece_count, tile);
  const std::uint32_t row_vectors = vectors_of_row(piece.run, piece.to);
  const std::uint32_t vectors = piece.rows * row_vectors;
  std::uint32_t vector = (tile - piece.first_tile) * vectors_per_tile + threadIdx.x % threads_per_warp;
  // A tile of the last block that is beyond the table's is beyond the last piece's vectors, too.
#pragma unroll 1
  for (std::uint32_t i = 0; i < vectors_per_tile / threads_per_warp && vector < vectors; ++i) {
    const std::uint32_t row = vector / row_vectors;
    move_vector(extent, piece, row, vector - row * row_vectors, arena);
    vector += threads_per_warp;
  }
}

}  // namespace sluice
