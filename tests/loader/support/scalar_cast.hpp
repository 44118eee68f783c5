// scalar_cast: one cast by loader/device/element_casts.hpp alone, dtypes chosen at run time. What cast_elements() must
// agree with.
#pragma once

#include <array>
#include <cstdint>

#include "loader/device/element_casts.hpp"
#include "sluice/dtype.hpp"

namespace sluice {

inline constexpr std::array<Dtype, 6> castable_dtypes{f64, f32, f16, bf16, f8_e4m3, f8_e5m2};

inline std::uint32_t scalar_decode(Dtype from, std::uint64_t bits) {
  switch (from) {
    case f64:
      return casts::f64_to_f32(bits);
    case f16:
      return casts::f16_to_f32(static_cast<std::uint16_t>(bits));
    case bf16:
      return casts::bf16_to_f32(static_cast<std::uint16_t>(bits));
    case f8_e4m3:
      return casts::e4m3_to_f32(static_cast<std::uint8_t>(bits));
    case f8_e5m2:
      return casts::e5m2_to_f32(static_cast<std::uint8_t>(bits));
    default:
      return static_cast<std::uint32_t>(bits);
  }
}

inline std::uint64_t scalar_encode(Dtype to, std::uint32_t f32_bits) {
  switch (to) {
    case f64:
      return casts::f32_to_f64(f32_bits);
    case f16:
      return casts::f32_to_f16(f32_bits);
    case bf16:
      return casts::f32_to_bf16(f32_bits);
    case f8_e4m3:
      return casts::f32_to_e4m3(f32_bits);
    case f8_e5m2:
      return casts::f32_to_e5m2(f32_bits);
    default:
      return f32_bits;
  }
}

/// The bits of an element of dtype `from`, cast to `to`. The same dtype gives the same bits.
inline std::uint64_t scalar_cast(Dtype from, std::uint64_t bits, Dtype to) {
  return from == to ? bits : scalar_encode(to, scalar_decode(from, bits));
}

}  // namespace sluice
