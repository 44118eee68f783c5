#include "loader/device/array_cast.hpp"

#include <cassert>
#include <cstdint>
#include <cstring>

#include "loader/device/element_casts.hpp"

// Highway compiles the part between HWY_BEFORE_NAMESPACE and HWY_AFTER_NAMESPACE once for each instruction set, and
// picks one at run time. Within it the compiler vectorises plain loops over casts.hpp: its functions have no branches,
// and the blocks below have a fixed length. The rules stay in one place, and what runs here is what runs in the kernel.
// Processors between the baseline and AVX2 are not worth their copy of thirty loops.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "loader/device/array_cast.cpp"
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace sluice::HWY_NAMESPACE {

template <Dtype dtype>
struct Element;

template <>
struct Element<f64> {
  using Bits = std::uint64_t;
  static HWY_INLINE std::uint32_t decode(Bits bits) { return casts::f64_to_f32(bits); }
  static HWY_INLINE Bits encode(std::uint32_t f32) { return casts::f32_to_f64(f32); }
};

template <>
struct Element<f32> {
  using Bits = std::uint32_t;
  static HWY_INLINE std::uint32_t decode(Bits bits) { return bits; }
  static HWY_INLINE Bits encode(std::uint32_t f32) { return f32; }
};

template <>
struct Element<f16> {
  using Bits = std::uint16_t;
  static HWY_INLINE std::uint32_t decode(Bits bits) { return casts::f16_to_f32(bits); }
  static HWY_INLINE Bits encode(std::uint32_t f32) { return casts::f32_to_f16(f32); }
};

template <>
struct Element<bf16> {
  using Bits = std::uint16_t;
  static HWY_INLINE std::uint32_t decode(Bits bits) { return casts::bf16_to_f32(bits); }
  static HWY_INLINE Bits encode(std::uint32_t f32) { return casts::f32_to_bf16(f32); }
};

template <>
struct Element<f8_e4m3> {
  using Bits = std::uint8_t;
  static HWY_INLINE std::uint32_t decode(Bits bits) { return casts::e4m3_to_f32(bits); }
  static HWY_INLINE Bits encode(std::uint32_t f32) { return casts::f32_to_e4m3(f32); }
};

template <>
struct Element<f8_e5m2> {
  using Bits = std::uint8_t;
  static HWY_INLINE std::uint32_t decode(Bits bits) { return casts::e5m2_to_f32(bits); }
  static HWY_INLINE Bits encode(std::uint32_t f32) { return casts::f32_to_e5m2(f32); }
};

// As many bytes as the longest vectors have: whole vectors of every element type.
constexpr std::size_t block_elements = 64;

template <Dtype from, Dtype to>
HWY_INLINE void cast_block(const unsigned char* HWY_RESTRICT source, unsigned char* HWY_RESTRICT target) {
  using Source = typename Element<from>::Bits;
  using Target = typename Element<to>::Bits;
  for (std::size_t i = 0; i < block_elements; ++i) {
    Source bits;
    std::memcpy(&bits, source + i * sizeof bits, sizeof bits);
    const Target cast = Element<to>::encode(Element<from>::decode(bits));
    std::memcpy(target + i * sizeof cast, &cast, sizeof cast);
  }
}

template <Dtype from, Dtype to>
void cast_pair(const unsigned char* HWY_RESTRICT source, unsigned char* HWY_RESTRICT target, std::size_t count) {
  constexpr std::size_t source_block_bytes = block_elements * sizeof(typename Element<from>::Bits);
  constexpr std::size_t target_block_bytes = block_elements * sizeof(typename Element<to>::Bits);
  for (; count >= block_elements; count -= block_elements) {
    cast_block<from, to>(source, target);
    source += source_block_bytes;
    target += target_block_bytes;
  }
  if (count != 0) {
    // The rest goes through a whole block of its own, so that nothing beyond either end is touched.
    unsigned char source_block[source_block_bytes] = {};
    unsigned char target_block[target_block_bytes];
    std::memcpy(source_block, source, count * sizeof(typename Element<from>::Bits));
    cast_block<from, to>(source_block, target_block);
    std::memcpy(target, target_block, count * sizeof(typename Element<to>::Bits));
  }
}

template <Dtype from>
void cast_from(const unsigned char* source, Dtype to, unsigned char* target, std::size_t count) {
  switch (to) {
    case f64:
      return cast_pair<from, f64>(source, target, count);
    case f32:
      return cast_pair<from, f32>(source, target, count);
    case f16:
      return cast_pair<from, f16>(source, target, count);
    case bf16:
      return cast_pair<from, bf16>(source, target, count);
    case f8_e4m3:
      return cast_pair<from, f8_e4m3>(source, target, count);
    case f8_e5m2:
      return cast_pair<from, f8_e5m2>(source, target, count);
    default:
      return;
  }
}

void cast(Dtype from, const unsigned char* source, Dtype to, unsigned char* target, std::size_t count) {
  switch (from) {
    case f64:
      return cast_from<f64>(source, to, target, count);
    case f32:
      return cast_from<f32>(source, to, target, count);
    case f16:
      return cast_from<f16>(source, to, target, count);
    case bf16:
      return cast_from<bf16>(source, to, target, count);
    case f8_e4m3:
      return cast_from<f8_e4m3>(source, to, target, count);
    case f8_e5m2:
      return cast_from<f8_e5m2>(source, to, target, count);
    default:
      return;
  }
}

}  // namespace sluice::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace sluice {

HWY_EXPORT(cast);

void cast_elements(Dtype from, const void* source, Dtype to, void* target, std::size_t count) noexcept {
  assert(is_castable(from) && is_castable(to));
  if (from == to) {
    if (count != 0) std::memcpy(target, source, count * (bits(from) / 8));
    return;
  }
  HWY_DYNAMIC_DISPATCH(cast)
  (from, static_cast<const unsigned char*>(source), to, static_cast<unsigned char*>(target), count);
}

}  // namespace sluice

#endif
