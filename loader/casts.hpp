// casts: how one element becomes another, for F64 F32 F16 BF16 F8_E4M3 F8_E5M2. Bits in, bits out, by integer
// arithmetic only. One header for the host and for the CUDA kernel, so that both agree to the bit: no CUDA headers, no
// branch on the architecture, no floating point, hence nothing that rounding modes, flush-to-zero or fast-math could
// change.
//
// The rules are PyTorch's (2.13 and later). Every cast goes through F32: decode to F32, encode from F32; F64 -> F16
// rounds twice. Each step rounds to nearest, ties to even, subnormals included. What is too large becomes infinity, and
// in F8_E4M3, which has none, the largest value, 448; infinity does so too. NaN keeps its sign and loses its payload:
// 0x7fc00000 in F32, 0x7ff8000000000000 in F64, 0x7e00 in F16, 0x7fc0 in BF16, 0x7f in both F8, each with the sign bit.
//
// Written without branches, so that compilers vectorise loops over these functions. Pure functions; any thread.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define SLUICE_DEVICE __host__ __device__
#else
#define SLUICE_DEVICE
#endif

namespace sluice::casts {

inline constexpr std::uint32_t f32_infinity = 0x7f800000u;
inline constexpr std::uint32_t f32_nan = 0x7fc00000u;
inline constexpr std::uint64_t f64_infinity = 0x7ff0000000000000u;
inline constexpr std::uint64_t f64_nan = 0x7ff8000000000000u;

SLUICE_DEVICE constexpr std::uint16_t least(std::uint16_t a, std::uint16_t b) {
  return a < b ? a : b;
}

template <unsigned step>
SLUICE_DEVICE constexpr void shift_up(std::uint16_t& significand, std::uint16_t& exponent) {
  const bool small = significand < (1u << (11 - step));
  significand = small ? static_cast<std::uint16_t>(significand << step) : significand;
  exponent = small ? static_cast<std::uint16_t>(exponent - (step << 10)) : exponent;
}

/// One step of normalising: if the leading one of `significand` is at least `step` places below bit 23, moves it up by
/// that.
template <std::uint32_t step>
SLUICE_DEVICE constexpr void shift_up(std::uint32_t& significand, std::uint32_t& exponent) {
  // The difference is negative, its sign bit set, exactly if it is that small.
  const std::uint32_t distance = (0u - ((significand - (1u << (24 - step))) >> 31)) & step;
  significand <<= distance;
  exponent -= distance;
}

/// A binary floating-point format narrower than F32, sign bit aside. Exponents are biased as IEEE 754 has it.
template <unsigned exponent_bits, unsigned fraction_bits>
struct Narrow {
  /// By how much F32's exponent bias is larger.
  static constexpr std::uint32_t bias_gap = 127u - ((1u << (exponent_bits - 1)) - 1u);
  /// By how many bits F32's fraction is longer.
  static constexpr std::uint32_t fraction_gap = 23u - fraction_bits;

  /// A finite F32 magnitude rounded to this format. What is too large comes out as if there were larger exponents, so
  /// that the caller can clamp it; infinity comes out larger than every finite magnitude.
  SLUICE_DEVICE static constexpr std::uint32_t narrow(std::uint32_t magnitude) {
    // Subnormal results are those on the grid of the smallest normal exponent, so their significands are shifted
    // further.
    const std::uint32_t exponent = magnitude >> 23;
    const std::uint32_t grid = exponent > bias_gap ? exponent : bias_gap + 1;
    // At 25 and beyond, a significand of 24 bits is less than half of the last place: it rounds to zero.
    const std::uint32_t distance = fraction_gap + (grid - exponent);
    const std::uint32_t shift = distance < 25 ? distance : 25;
    // An F32 subnormal gets an implied bit that it has not, but is so small that it rounds to zero either way.
    const std::uint32_t significand = (magnitude & 0x007fffffu) | 0x00800000u;
    const std::uint32_t odd = (significand >> shift) & 1u;
    const std::uint32_t rounded = (significand + ((1u << (shift - 1)) - 1u) + odd) >> shift;
    // A normal result's implied bit stands at 1 << fraction_bits, and a carry out of the fraction too: both add one to
    // the exponent field.
    return rounded + ((grid - bias_gap - 1) << fraction_bits);
  }
};

using F16 = Narrow<5, 10>;
using E5M2 = Narrow<5, 2>;
using E4M3 = Narrow<4, 3>;

// --- to F32: exact, but for F64
// ------------------------------------------------------------------------------------------

SLUICE_DEVICE constexpr std::uint32_t f16_to_f32(std::uint16_t bits) {
  const std::uint16_t magnitude = bits & 0x7fffu;
  // A subnormal: shift until the leading one stands where a normal number's exponent has its last bit, and count down
  // the exponent, which gets ten values more than F16 has.
  std::uint16_t significand = magnitude;
  std::uint16_t exponent = 10u << 10;
  shift_up<8>(significand, exponent);
  shift_up<4>(significand, exponent);
  shift_up<2>(significand, exponent);
  shift_up<1>(significand, exponent);
  const std::uint16_t any = significand + exponent;
  const std::uint16_t wide = any > 0xa400u ? 0xa600u : any;
  const std::uint16_t finite = (wide >> 3) + (102u << 7);
  const std::uint16_t nonzero = finite < 0x4780u ? finite : finite + (112u << 7);
  const std::uint16_t upper = (bits & 0x8000u) | (magnitude != 0 ? nonzero : 0);
  const std::uint16_t lower = wide << 13;
  return static_cast<std::uint32_t>(upper) << 16 | lower;
}

SLUICE_DEVICE constexpr std::uint32_t bf16_to_f32(std::uint16_t bits) {
  const std::uint32_t f32 = static_cast<std::uint32_t>(bits) << 16;
  return (f32 & 0x7fffffffu) > f32_infinity ? (f32 & 0x80000000u) | f32_nan : f32;
}

SLUICE_DEVICE constexpr std::uint32_t e4m3_to_f32(std::uint8_t bits) {
  const std::uint16_t magnitude = bits & 0x7fu;
  const std::uint16_t normal = (magnitude << 4) + (120u << 7);
  const std::uint16_t fourths = (magnitude << 5) + (119u << 7);
  const std::uint16_t halves = (magnitude << 6) + (118u << 7);
  const std::uint16_t ones = (magnitude << 7) + (117u << 7);
  const std::uint16_t finite = least(least(normal, fourths), least(halves, ones));
  const std::uint16_t nonzero = finite < 0x43f0u ? finite : 0x7fc0u;
  const std::uint16_t bf16 = magnitude != 0 ? nonzero : 0;
  return static_cast<std::uint32_t>(bf16 | ((bits & 0x80u) << 8)) << 16;
}

SLUICE_DEVICE constexpr std::uint32_t e5m2_to_f32(std::uint8_t bits) {
  const std::uint16_t magnitude = bits & 0x7fu;
  const std::uint16_t normal = (magnitude << 5) + (112u << 7);
  const std::uint16_t halves = (magnitude << 6) + (111u << 7);
  const std::uint16_t ones = (magnitude << 7) + (110u << 7);
  const std::uint16_t finite = least(normal, least(halves, ones));
  const std::uint16_t special = finite > 0x4780u ? 0x7fc0u : 0x7f80u;
  const std::uint16_t nonzero = finite < 0x4780u ? finite : special;
  const std::uint16_t bf16 = magnitude != 0 ? nonzero : 0;
  return static_cast<std::uint32_t>(bf16 | ((bits & 0x80u) << 8)) << 16;
}

SLUICE_DEVICE constexpr std::uint32_t f64_to_f32(std::uint64_t bits) {
  // Narrow::narrow() once more, 64 bits wide.
  constexpr std::uint64_t bias_gap = 1023 - 127;
  constexpr std::uint64_t fraction_gap = 52 - 23;
  const std::uint32_t sign = static_cast<std::uint32_t>(bits >> 32) & 0x80000000u;
  const std::uint64_t magnitude = bits & 0x7fffffffffffffffu;
  const std::uint64_t exponent = magnitude >> 52;
  const std::uint64_t grid = exponent > bias_gap ? exponent : bias_gap + 1;
  const std::uint64_t distance = fraction_gap + (grid - exponent);
  const std::uint64_t shift = distance < 54 ? distance : 54;
  const std::uint64_t significand = (magnitude & 0x000fffffffffffffu) | 0x0010000000000000u;
  const std::uint64_t odd = (significand >> shift) & 1u;
  const std::uint64_t rounded = (significand + ((std::uint64_t{1} << (shift - 1)) - 1u) + odd) >> shift;
  const std::uint64_t unbounded = rounded + ((grid - bias_gap - 1) << 23);
  const std::uint64_t finite = unbounded < f32_infinity ? unbounded : f32_infinity;
  return sign | static_cast<std::uint32_t>(magnitude > f64_infinity ? f32_nan : finite);
}

// --- from F32
// ------------------------------------------------------------------------------------------------------------

SLUICE_DEVICE constexpr std::uint16_t f32_to_f16(std::uint32_t bits) {
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  const std::uint32_t unbounded = F16::narrow(magnitude);
  const std::uint32_t bounded = unbounded < 0x7c00u ? unbounded : 0x7c00u;
  return static_cast<std::uint16_t>(sign | (magnitude > f32_infinity ? 0x7e00u : bounded));
}

SLUICE_DEVICE constexpr std::uint16_t f32_to_bf16(std::uint32_t bits) {
  // The formats differ in the fraction's length only: rounding carries into the exponent, up to infinity, by itself.
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const std::uint32_t nan = ((bits >> 16) & 0x8000u) | 0x7fc0u;
  return static_cast<std::uint16_t>((bits & 0x7fffffffu) > f32_infinity ? nan : rounded);
}

SLUICE_DEVICE constexpr std::uint8_t f32_to_e4m3(std::uint32_t bits) {
  const std::uint32_t sign = (bits >> 24) & 0x80u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  const std::uint32_t unbounded = E4M3::narrow(magnitude);
  const std::uint32_t bounded = unbounded < 0x7eu ? unbounded : 0x7eu;
  return static_cast<std::uint8_t>(sign | (magnitude > f32_infinity ? 0x7fu : bounded));
}

SLUICE_DEVICE constexpr std::uint8_t f32_to_e5m2(std::uint32_t bits) {
  const std::uint32_t sign = (bits >> 24) & 0x80u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  const std::uint32_t unbounded = E5M2::narrow(magnitude);
  const std::uint32_t bounded = unbounded < 0x7cu ? unbounded : 0x7cu;
  return static_cast<std::uint8_t>(sign | (magnitude > f32_infinity ? 0x7fu : bounded));
}

SLUICE_DEVICE constexpr std::uint64_t f32_to_f64(std::uint32_t bits) {
  constexpr std::uint32_t bias_gap = 1023 - 127;
  const std::uint64_t sign = static_cast<std::uint64_t>(bits & 0x80000000u) << 32;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  std::uint32_t significand = magnitude;
  std::uint32_t exponent = bias_gap;
  shift_up<16>(significand, exponent);
  shift_up<8>(significand, exponent);
  shift_up<4>(significand, exponent);
  shift_up<2>(significand, exponent);
  shift_up<1>(significand, exponent);
  // Normal magnitudes are at least 1 << 23: the steps left them alone, and only the bias is missing.
  const std::uint64_t finite =
      significand != 0 ? (static_cast<std::uint64_t>(significand) << 29) + (static_cast<std::uint64_t>(exponent) << 52)
                       : 0;
  const std::uint64_t special = magnitude == f32_infinity ? f64_infinity : f64_nan;
  return sign | (magnitude < f32_infinity ? finite : special);
}

}  // namespace sluice::casts
