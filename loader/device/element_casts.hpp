// casts: how one element becomes another, for F64 F32 F16 BF16 F8_E4M3 F8_E5M2. Bits in, bits out, by integers only.
// One header for the host and for the CUDA kernel, so that both agree to the bit: no CUDA headers, no branch on the
// architecture, no floating point, hence nothing that rounding modes, flush-to-zero or fast-math could change.
//
// The rules are PyTorch's, from 2.13 on. Every cast goes through F32: decode to F32, encode from F32; so F64 -> F16
// rounds twice. Each step rounds to nearest, ties to even, subnormals included. What is too large becomes infinity, but
// in F8_E4M3, which has none, the largest value, 448; infinity does so too. NaN keeps its sign and loses its payload:
// it becomes f64_nan, f32_nan, f16_nan, bf16_nan or f8_nan below, with its sign. docs/casts.md has all of it in tables.
//
// Written without branches, lanes no wider than need be, so that compilers vectorise loops over these functions.
// Pure functions; any thread.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define SLUICE_DEVICE __host__ __device__
#else
#define SLUICE_DEVICE
#endif

namespace sluice::casts {

inline constexpr std::uint64_t f64_infinity = 0x7ff0000000000000u;
inline constexpr std::uint64_t f64_nan = 0x7ff8000000000000u;
inline constexpr std::uint32_t f32_infinity = 0x7f800000u;
inline constexpr std::uint32_t f32_nan = 0x7fc00000u;
inline constexpr std::uint16_t f16_infinity = 0x7c00u;
inline constexpr std::uint16_t f16_nan = 0x7e00u;
inline constexpr std::uint16_t bf16_infinity = 0x7f80u;
inline constexpr std::uint16_t bf16_nan = 0x7fc0u;
inline constexpr std::uint8_t e4m3_largest = 0x7eu;  // 448
inline constexpr std::uint8_t e5m2_infinity = 0x7cu;
inline constexpr std::uint8_t f8_nan = 0x7fu;

// --- the parts, on magnitudes: the bits without the sign -------------------------------------------------------------

template <typename Lane>
SLUICE_DEVICE constexpr Lane least(Lane a, Lane b) {
  return a < b ? a : b;
}

/// `significand` / 2^`shift`, rounded to nearest, ties to even. `shift` is 1 to 31; nothing may carry out of 32 bits.
SLUICE_DEVICE constexpr std::uint32_t shift_and_round(std::uint32_t significand, std::uint32_t shift) {
  const std::uint32_t odd = (significand >> shift) & 1u;
  return (significand + ((1u << (shift - 1)) - 1u) + odd) >> shift;
}

/// A finite F32 magnitude rounded to a format with fewer bits. What is too large comes out as if there were larger
/// exponents, for the caller to clamp; infinity comes out larger than all finite magnitudes.
template <std::uint32_t exponent_bits, std::uint32_t fraction_bits>
SLUICE_DEVICE constexpr std::uint32_t narrow(std::uint32_t magnitude) {
  constexpr std::uint32_t bias_gap = 127u - ((1u << (exponent_bits - 1)) - 1u);
  constexpr std::uint32_t fraction_gap = 23u - fraction_bits;
  // Results below the smallest normal number share its grid: the smaller they are, the further they are shifted.
  const std::uint32_t exponent = magnitude >> 23;
  const std::uint32_t grid = exponent > bias_gap ? exponent : bias_gap + 1;
  // Shifted by 25 or more, a significand of 24 bits is less than half of the last place, and rounds to zero.
  const std::uint32_t distance = fraction_gap + (grid - exponent);
  const std::uint32_t shift = least<std::uint32_t>(distance, 25);
  // An F32 subnormal is given a leading one that it does not have; it is so small that it rounds to zero either way.
  const std::uint32_t significand = (magnitude & 0x007fffffu) | 0x00800000u;
  // The leading one of a normal result, or a carry out of the fraction, adds one to the exponent.
  return shift_and_round(significand, shift) + ((grid - bias_gap - 1) << fraction_bits);
}

/// One step of normalising: moves the leading one of `significand` up by `step` if it stays at or below `one_bit` then.
/// `exponent`, which has its lowest bit at `exponent_bit`, goes down in return.
template <unsigned step, unsigned one_bit, unsigned exponent_bit, typename Lane>
SLUICE_DEVICE constexpr void normalise(Lane& significand, Lane& exponent) {
  const bool small = significand < (1u << (one_bit + 1 - step));
  significand = small ? static_cast<Lane>(significand << step) : significand;
  exponent = small ? static_cast<Lane>(exponent - (step << exponent_bit)) : exponent;
}

// --- to F32: exact, but for F64 --------------------------------------------------------------------------------------

SLUICE_DEVICE constexpr std::uint32_t f64_to_f32(std::uint64_t bits) {
  // As in narrow(), with the significand cut to 26 bits: the 24 of F32, one that says whether the rest is half or more,
  // and one that says whether anything lies below. 32-bit lanes suffice then.
  constexpr std::uint32_t bias_gap = 1023 - 127;
  const auto upper = static_cast<std::uint32_t>(bits >> 32);
  const auto lower = static_cast<std::uint32_t>(bits);
  const std::uint32_t below = ((lower & 0x07ffffffu) + 0x07ffffffu) >> 27;
  const std::uint32_t significand = 0x02000000u | ((upper & 0x000fffffu) << 5) | (lower >> 27) | below;
  // All exponents from bias_gap + 255 on are too large; one of them stands for all, so that the sum below fits.
  const std::uint32_t exponent = least<std::uint32_t>((upper >> 20) & 0x7ffu, bias_gap + 256);
  const std::uint32_t grid = exponent > bias_gap ? exponent : bias_gap + 1;
  const std::uint32_t shift = least<std::uint32_t>(2 + (grid - exponent), 27);
  const std::uint32_t unbounded = shift_and_round(significand, shift) + ((grid - bias_gap - 1) << 23);
  const std::uint32_t magnitude = least<std::uint32_t>(unbounded, f32_infinity);
  const bool nan = ((upper & 0x7fffffffu) | (lower != 0 ? 1u : 0u)) > (f64_infinity >> 32);
  return (upper & 0x80000000u) | (nan ? f32_nan : magnitude);
}

/// F16 in 16-bit lanes, as an F32 cut in halves.
SLUICE_DEVICE constexpr std::uint32_t f16_to_f32(std::uint16_t bits) {
  // With one more bit for the exponent, which begins 10 lower, subnormals can be made normal.
  const std::uint16_t magnitude = bits & 0x7fffu;
  std::uint16_t significand = magnitude;
  std::uint16_t exponent = 10u << 10;
  normalise<8, 10, 10>(significand, exponent);
  normalise<4, 10, 10>(significand, exponent);
  normalise<2, 10, 10>(significand, exponent);
  normalise<1, 10, 10>(significand, exponent);
  const std::uint16_t normal = significand + exponent;
  const std::uint16_t wide = normal > f16_infinity + (10u << 10) ? f16_nan + (10u << 10) : normal;
  // BF16 is F32's upper half: there the exponent is 102 larger, and 112 more for infinity and NaN.
  const std::uint16_t finite = (wide >> 3) + (102u << 7);
  const std::uint16_t nonzero = finite < ((31u + 112u) << 7) ? finite : finite + (112u << 7);
  const std::uint16_t upper = (bits & 0x8000u) | (magnitude != 0 ? nonzero : 0);
  const std::uint16_t lower = wide << 13;
  return static_cast<std::uint32_t>(upper) << 16 | lower;
}

SLUICE_DEVICE constexpr std::uint32_t bf16_to_f32(std::uint16_t bits) {
  const std::uint32_t f32 = static_cast<std::uint32_t>(bits) << 16;
  return (f32 & 0x7fffffffu) > f32_infinity ? (f32 & 0x80000000u) | f32_nan : f32;
}

// Both F8 fit into BF16. As a function of the F8 magnitude's bits, the BF16 bits are a chain of straight lines: one for
// each power of two among the subnormals, half as steep as the one before, and one for all normal numbers. The chain
// bends downwards only, so it is the least of its lines everywhere, but at zero.

SLUICE_DEVICE constexpr std::uint32_t e4m3_to_f32(std::uint8_t bits) {
  const std::uint16_t magnitude = bits & 0x7fu;
  const std::uint16_t first = (magnitude << 7) + (117u << 7);   // magnitude 1
  const std::uint16_t second = (magnitude << 6) + (118u << 7);  // 2 and 3
  const std::uint16_t third = (magnitude << 5) + (119u << 7);   // 4 to 7
  const std::uint16_t normal = (magnitude << 4) + (120u << 7);
  const std::uint16_t line = least(least(first, second), least(third, normal));
  const std::uint16_t nonzero = magnitude == f8_nan ? bf16_nan : line;
  const std::uint16_t bf16 = magnitude != 0 ? nonzero : 0;
  return static_cast<std::uint32_t>(bf16 | ((bits & 0x80u) << 8)) << 16;
}

SLUICE_DEVICE constexpr std::uint32_t e5m2_to_f32(std::uint8_t bits) {
  const std::uint16_t magnitude = bits & 0x7fu;
  const std::uint16_t first = (magnitude << 7) + (110u << 7);   // magnitude 1
  const std::uint16_t second = (magnitude << 6) + (111u << 7);  // 2 and 3
  const std::uint16_t normal = (magnitude << 5) + (112u << 7);
  const std::uint16_t line = least(first, least(second, normal));
  const std::uint16_t special = magnitude == e5m2_infinity ? bf16_infinity : bf16_nan;
  const std::uint16_t nonzero = magnitude < e5m2_infinity ? line : special;
  const std::uint16_t bf16 = magnitude != 0 ? nonzero : 0;
  return static_cast<std::uint32_t>(bf16 | ((bits & 0x80u) << 8)) << 16;
}

// --- from F32: rounded, but to F64 -----------------------------------------------------------------------------------

SLUICE_DEVICE constexpr std::uint64_t f32_to_f64(std::uint32_t bits) {
  // F64 has normal numbers for all of F32's subnormals. A normal one has its leading one added to its exponent.
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  std::uint32_t significand = magnitude;
  std::uint32_t exponent = 1023 - 127;
  normalise<16, 23, 0>(significand, exponent);
  normalise<8, 23, 0>(significand, exponent);
  normalise<4, 23, 0>(significand, exponent);
  normalise<2, 23, 0>(significand, exponent);
  normalise<1, 23, 0>(significand, exponent);
  const std::uint64_t nonzero = (std::uint64_t{significand} << 29) + (std::uint64_t{exponent} << 52);
  const std::uint64_t finite = magnitude != 0 ? nonzero : 0;
  const std::uint64_t special = magnitude == f32_infinity ? f64_infinity : f64_nan;
  return (std::uint64_t{bits & 0x80000000u} << 32) | (magnitude < f32_infinity ? finite : special);
}

SLUICE_DEVICE constexpr std::uint16_t f32_to_f16(std::uint32_t bits) {
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  const std::uint32_t bounded = least<std::uint32_t>(narrow<5, 10>(magnitude), f16_infinity);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  return static_cast<std::uint16_t>(sign | (magnitude > f32_infinity ? f16_nan : bounded));
}

SLUICE_DEVICE constexpr std::uint16_t f32_to_bf16(std::uint32_t bits) {
  // Only the fraction is shorter: rounding carries into the exponent, and up to infinity, by itself.
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const std::uint32_t nan = ((bits >> 16) & 0x8000u) | bf16_nan;
  return static_cast<std::uint16_t>((bits & 0x7fffffffu) > f32_infinity ? nan : rounded);
}

SLUICE_DEVICE constexpr std::uint8_t f32_to_e4m3(std::uint32_t bits) {
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  const std::uint32_t bounded = least<std::uint32_t>(narrow<4, 3>(magnitude), e4m3_largest);
  const std::uint32_t sign = (bits >> 24) & 0x80u;
  return static_cast<std::uint8_t>(sign | (magnitude > f32_infinity ? f8_nan : bounded));
}

SLUICE_DEVICE constexpr std::uint8_t f32_to_e5m2(std::uint32_t bits) {
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  const std::uint32_t bounded = least<std::uint32_t>(narrow<5, 2>(magnitude), e5m2_infinity);
  const std::uint32_t sign = (bits >> 24) & 0x80u;
  return static_cast<std::uint8_t>(sign | (magnitude > f32_infinity ? f8_nan : bounded));
}

}  // namespace sluice::casts
