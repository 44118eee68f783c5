// Casts against an independent reference: decoding by ldexp, encoding by a search for the nearest of all values that
// the target format has, ties to the even code. Exhaustive for 8- and 16-bit sources; boundaries and random values,
// seeded, for F32 and F64. Then the vectorised loop against single elements: every pair, length and misalignment, with
// guard bytes.
#include "loader/cast.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <utility>
#include <vector>

namespace sluice {
namespace {

const Dtype castable[] = {f64, f32, f16, bf16, f8_e4m3, f8_e5m2};

struct Format {
  int exponent_bits;
  int fraction_bits;
};

Format format_of(Dtype dtype) {
  switch (dtype) {
    case f16:
      return {5, 10};
    case bf16:
      return {8, 7};
    case f8_e4m3:
      return {4, 3};
    default:
      return {5, 2};
  }
}

/// The value of a narrow code: NaN and infinity as the format has them.
double decode(Dtype dtype, std::uint32_t code) {
  const auto [exponent_bits, fraction_bits] = format_of(dtype);
  const bool negative = (code >> (exponent_bits + fraction_bits)) != 0;
  const int exponent = static_cast<int>(code >> fraction_bits) & ((1 << exponent_bits) - 1);
  const int fraction = static_cast<int>(code) & ((1 << fraction_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  double value = 0;
  if (dtype == f8_e4m3) {
    if (exponent == 15 && fraction == 7) value = std::numeric_limits<double>::quiet_NaN();
  } else if (exponent == (1 << exponent_bits) - 1) {
    value = fraction == 0 ? std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  }
  if (value == 0) {
    value = exponent == 0 ? std::ldexp(fraction, 1 - bias - fraction_bits)
                          : std::ldexp((1 << fraction_bits) + fraction, exponent - bias - fraction_bits);
  }
  return negative ? -value : value;
}

/// The code of the format whose value is nearest to `value`, which is exact in F32.
std::uint32_t encode(Dtype dtype, float value) {
  const auto [exponent_bits, fraction_bits] = format_of(dtype);
  const std::uint32_t sign = std::signbit(value) ? 1u << (exponent_bits + fraction_bits) : 0;
  const std::uint32_t infinity = ((1u << exponent_bits) - 1) << fraction_bits;
  // All non-negative finite codes lie in order of value.
  const std::uint32_t largest = dtype == f8_e4m3 ? 0x7e : infinity - 1;
  if (std::isnan(value)) {
    return sign | (dtype == f8_e4m3 || dtype == f8_e5m2 ? 0x7f : infinity | 1u << (fraction_bits - 1));
  }
  const double magnitude = std::fabs(static_cast<double>(value));
  // One step beyond the largest decides what overflows.
  const double step = decode(dtype, largest) - decode(dtype, largest - 1);
  if (magnitude >= decode(dtype, largest) + step / 2) return sign | (dtype == f8_e4m3 ? largest : infinity);
  std::uint32_t low = 0;
  std::uint32_t high = largest;
  while (low < high) {  // the largest code that is not above
    const std::uint32_t middle = (low + high + 1) / 2;
    if (decode(dtype, middle) <= magnitude) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  if (low == largest) return sign | low;
  const double below = magnitude - decode(dtype, low);
  const double above = decode(dtype, low + 1) - magnitude;
  const bool up = above < below || (above == below && low % 2 == 1);
  return sign | (low + (up ? 1 : 0));
}

template <typename To, typename From>
To cast_one(Dtype from, From source, Dtype to) {
  To target{};
  cast_elements(from, &source, to, &target, 1);
  return target;
}

constexpr std::uint32_t canonical_nan = 0x7fc00000u;

/// What an F32 must become, checked for all six targets.
void check_from_f32(std::uint32_t bits) {
  const auto value = std::bit_cast<float>(bits);
  for (const Dtype to : {f16, bf16}) {
    ASSERT_EQ((cast_one<std::uint16_t>(f32, bits, to)), encode(to, value)) << std::hex << bits << ' ' << name(to);
  }
  for (const Dtype to : {f8_e4m3, f8_e5m2}) {
    ASSERT_EQ(int{cast_one<std::uint8_t>(f32, bits, to)}, static_cast<int>(encode(to, value)))
        << std::hex << bits << ' ' << name(to);
  }
  const auto wide = cast_one<std::uint64_t>(f32, bits, f64);
  if (std::isnan(value)) {
    ASSERT_EQ(wide, (std::signbit(value) ? 1ull << 63 : 0) | 0x7ff8000000000000ull) << std::hex << bits;
  } else {
    ASSERT_EQ(wide, std::bit_cast<std::uint64_t>(static_cast<double>(value))) << std::hex << bits;
  }
}

/// F64 goes through F32.
void check_from_f64(std::uint64_t bits) {
  const auto value = std::bit_cast<double>(bits);
  auto expected = std::bit_cast<std::uint32_t>(static_cast<float>(value));
  if (std::isnan(value)) expected = canonical_nan | (std::signbit(value) ? 1u << 31 : 0);
  ASSERT_EQ((cast_one<std::uint32_t>(f64, bits, f32)), expected) << std::hex << bits;
  for (const Dtype to : {f16, bf16}) {
    ASSERT_EQ((cast_one<std::uint16_t>(f64, bits, to)), encode(to, std::bit_cast<float>(expected))) << std::hex << bits;
  }
  for (const Dtype to : {f8_e4m3, f8_e5m2}) {
    ASSERT_EQ(int{cast_one<std::uint8_t>(f64, bits, to)}, static_cast<int>(encode(to, std::bit_cast<float>(expected))))
        << std::hex << bits;
  }
}

TEST(Cast, WidensEveryNarrowValueExactly) {
  for (const Dtype from : {f16, bf16, f8_e4m3, f8_e5m2}) {
    const std::uint32_t codes = 1u << bits(from);
    for (std::uint32_t code = 0; code < codes; ++code) {
      const auto narrow = static_cast<std::uint16_t>(code);  // little-endian: its first byte is the 8-bit code
      const auto got = cast_one<std::uint32_t>(from, narrow, f32);
      const double value = decode(from, code);
      if (std::isnan(value)) {
        ASSERT_EQ(got & 0x7fffffffu, canonical_nan) << name(from) << ' ' << code;
        ASSERT_EQ(got >> 31, code >> (bits(from) - 1)) << name(from) << ' ' << code;
      } else {
        ASSERT_EQ(got, std::bit_cast<std::uint32_t>(static_cast<float>(value))) << name(from) << ' ' << code;
      }
    }
  }
}

TEST(Cast, ConvertsEveryNarrowValueToEveryOtherFormatThroughF32) {
  for (const Dtype from : {f16, bf16, f8_e4m3, f8_e5m2}) {
    for (const Dtype to : {f16, bf16, f8_e4m3, f8_e5m2}) {
      if (from == to) continue;
      for (std::uint32_t code = 0; code < (1u << bits(from)); ++code) {
        const auto narrow = static_cast<std::uint16_t>(code);
        const auto middle = std::bit_cast<float>(cast_one<std::uint32_t>(from, narrow, f32));
        const std::uint32_t got = cast_one<std::uint16_t>(from, narrow, to);
        ASSERT_EQ(got, encode(to, middle)) << name(from) << ' ' << code << " -> " << name(to);
      }
    }
  }
}

TEST(Cast, RoundsAtEveryBoundaryOfEveryTarget) {
  for (const Dtype to : {f16, bf16, f8_e4m3, f8_e5m2}) {
    for (std::uint32_t code = 0; code + 1 < (1u << (bits(to) - 1)); code += bits(to) == 8 ? 1 : 37) {
      const double low = decode(to, code);
      const double high = decode(to, code + 1);
      if (!std::isfinite(low) || !std::isfinite(high)) continue;
      const auto half = static_cast<float>((low + high) / 2);
      for (const float value : {static_cast<float>(low), half}) {
        const auto center = std::bit_cast<std::uint32_t>(value);
        for (const std::uint32_t bits : {center - 1, center, center + 1}) {
          check_from_f32(bits);
          check_from_f32(bits ^ 0x80000000u);
        }
      }
    }
  }
}

TEST(Cast, KnowsTheSpecialValues) {
  for (const std::uint32_t bits : {0u, 1u, 0x007fffffu, 0x00800000u, 0x7f7fffffu, 0x7f800000u, 0x7f800001u, 0x7fffffffu,
                                   0x43e00000u, 0x43e80000u, 0x477fe000u, 0x47700000u, 0x47800000u, 0x33000000u}) {
    check_from_f32(bits);
    check_from_f32(bits | 0x80000000u);
  }
  for (const std::uint64_t bits : {0ull, 1ull, 0x7fefffffffffffffull, 0x7ff0000000000000ull, 0x7ff0000000000001ull,
                                   0x7fffffffffffffffull, 0x47efffffe0000000ull, 0x47effffff0000000ull,
                                   0x36a0000000000000ull, 0x3690000000000000ull, 0x3ff0100000000001ull}) {
    check_from_f64(bits);
    check_from_f64(bits | 0x8000000000000000ull);
  }
}

TEST(Cast, ConvertsRandomValues) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr int count = 10'000;  // sanitizers make the reference some twenty times slower
#else
  constexpr int count = 150'000;
#endif
  std::mt19937_64 random(20241124);
  for (int i = 0; i < count; ++i) {
    check_from_f32(static_cast<std::uint32_t>(random()));
    check_from_f64(random());
    // Nearly all random F64 are too large or too small for F32: exponents around its own, too.
    check_from_f64((random() & 0x800fffffffffffffull) | ((870 + random() % 300) << 52));
    if (HasFatalFailure()) return;
  }
}

TEST(Cast, ConvertsTenMillionRandomValuesToF32AsTheProcessorDoes) {
  constexpr std::size_t count = 10'000'000;
  std::mt19937_64 random(7);
  std::vector<std::uint64_t> source(count);
  for (std::uint64_t& bits : source) bits = (random() & 0x800fffffffffffffull) | ((870 + random() % 300) << 52);
  std::vector<float> target(count);
  cast_elements(f64, source.data(), f32, target.data(), count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto expected = static_cast<float>(std::bit_cast<double>(source[i]));
    ASSERT_EQ(std::bit_cast<std::uint32_t>(target[i]), std::bit_cast<std::uint32_t>(expected)) << std::hex << source[i];
  }
}

TEST(Cast, GivesOneResultWhateverLengthAndAlignment) {
  constexpr std::size_t most = 200;
  constexpr std::size_t guard = 32;
  std::mt19937_64 random(3);
  std::vector<std::byte> noise((most + 4) * 8 + 16);
  for (std::byte& byte : noise) byte = static_cast<std::byte>(random());
  for (const Dtype from : castable) {
    for (const Dtype to : castable) {
      const std::size_t source_size = bits(from) / 8;
      const std::size_t target_size = bits(to) / 8;
      for (std::size_t length = 0; length <= most; length += length < 70 ? 1 : 13) {
        const std::size_t source_offset = random() % 16;
        const std::size_t target_offset = random() % 16;
        std::vector<std::byte> target(2 * guard + most * 8, std::byte{0xa5});
        std::vector<std::byte> expected = target;
        cast_elements(from, noise.data() + source_offset, to, target.data() + guard + target_offset, length);
        for (std::size_t i = 0; i < length; ++i) {
          std::uint64_t source = 0;
          std::uint64_t one = 0;
          std::memcpy(&source, noise.data() + source_offset + i * source_size, source_size);
          cast_elements(from, &source, to, &one, 1);
          std::memcpy(expected.data() + guard + target_offset + i * target_size, &one, target_size);
        }
        ASSERT_TRUE(target == expected) << name(from) << " -> " << name(to) << ", " << length << " elements";
      }
    }
  }
}

}  // namespace
}  // namespace sluice
