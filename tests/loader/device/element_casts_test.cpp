// Goal: casts.hpp follows the rules to the bit.
// Method: a reference that thinks in values, not in bits: doubles, scaled so that the target's last place is one,
// rounded by nearbyint(); F64 and F32 by the processor's own conversions. Every 8- and 16-bit source; every value of
// the small formats, every midpoint between neighbours and its neighbours in F32; corners; 10 million random F32 and as
// many F64.
#include "loader/device/element_casts.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "tests/loader/support/scalar_cast.hpp"

namespace sluice {
namespace {

constexpr int random_values = 10'000'000;

struct Format {
  int total_bits;
  int fraction_bits;
  int smallest_exponent;  // of a normal number
  double largest;
  double beyond;           // what a larger value becomes
  std::uint64_t infinity;  // the bits of the largest magnitude that is not a NaN
  std::uint64_t nan;
};

constexpr double infinite = std::numeric_limits<double>::infinity();

const Format& format(Dtype dtype) {
  static const Format formats[] = {
      {16, 10, -14, 65504, infinite, 0x7c00, 0x7e00},
      {16, 7, -126, 0x1.fep127, infinite, 0x7f80, 0x7fc0},
      {8, 3, -6, 448, 448, 0x7e, 0x7f},
      {8, 2, -14, 57344, infinite, 0x7c, 0x7f},
  };
  switch (dtype) {
    case f16:
      return formats[0];
    case bf16:
      return formats[1];
    case f8_e4m3:
      return formats[2];
    default:
      return formats[3];
  }
}

std::uint64_t sign_bit(Dtype dtype) {
  return std::uint64_t{1} << (bits(dtype) - 1);
}

std::uint64_t nan_of(Dtype dtype) {
  if (dtype == f64) return 0x7ff8000000000000;
  if (dtype == f32) return 0x7fc00000;
  return format(dtype).nan;
}

// The value that bits stand for, from the definition of the format.
double value_of(Dtype dtype, std::uint64_t element) {
  if (dtype == f64) return std::bit_cast<double>(element);
  if (dtype == f32) return std::bit_cast<float>(static_cast<std::uint32_t>(element));
  const Format& f = format(dtype);
  const std::uint64_t magnitude = element & (sign_bit(dtype) - 1);
  double value = 0;
  if (magnitude > f.infinity) {
    value = std::numeric_limits<double>::quiet_NaN();
  } else if (magnitude == f.infinity && f.beyond == infinite) {
    value = infinite;
  } else {
    const auto exponent = static_cast<int>(magnitude >> f.fraction_bits);
    const auto fraction = static_cast<double>(magnitude & ((1u << f.fraction_bits) - 1));
    const double significand = std::ldexp(fraction, -f.fraction_bits) + (exponent == 0 ? 0 : 1);
    value = std::ldexp(significand, f.smallest_exponent + (exponent == 0 ? 0 : exponent - 1));
  }
  return (element & sign_bit(dtype)) != 0 ? -value : value;
}

// The bits of the element that is nearest to a value that F32 can hold.
std::uint64_t nearest(Dtype dtype, double value) {
  if (dtype == f64) return std::bit_cast<std::uint64_t>(value);
  if (dtype == f32) return std::bit_cast<std::uint32_t>(static_cast<float>(value));
  const Format& f = format(dtype);
  const std::uint64_t sign = std::signbit(value) ? sign_bit(dtype) : 0;
  double magnitude = std::fabs(value);
  if (magnitude == 0) return sign;
  const int exponent = std::isinf(magnitude) ? 128 : std::max(std::ilogb(magnitude), f.smallest_exponent);
  if (exponent > 127) return sign | f.infinity;
  const double places = std::nearbyint(std::ldexp(magnitude, f.fraction_bits - exponent));
  magnitude = std::ldexp(places, exponent - f.fraction_bits);
  if (magnitude > f.largest) return sign | f.infinity;
  const auto steps = static_cast<std::uint64_t>(exponent - f.smallest_exponent);
  return sign | ((steps << f.fraction_bits) + static_cast<std::uint64_t>(places));
}

// The whole rule: NaN is canonical and keeps its sign, all else goes through F32.
std::uint64_t reference_cast(Dtype from, std::uint64_t element, Dtype to) {
  const double value = value_of(from, element);
  if (std::isnan(value)) return nan_of(to) | ((element & sign_bit(from)) != 0 ? sign_bit(to) : 0);
  return nearest(to, static_cast<double>(static_cast<float>(value)));
}

void expect_reference(Dtype from, std::uint64_t element) {
  for (const Dtype to : castable_dtypes) {
    if (to == from) continue;
    const std::uint64_t expected = reference_cast(from, element, to);
    const std::uint64_t actual = scalar_cast(from, element, to);
    if (actual != expected) {  // gtest's own comparison takes longer than the cast
      ADD_FAILURE() << std::hex << name(from) << " 0x" << element << " to " << name(to) << ": 0x" << actual
                    << ", not 0x" << expected;
    }
  }
}

std::uint64_t bits_of(double value) {
  return std::bit_cast<std::uint64_t>(value);
}
std::uint32_t bits_of(float value) {
  return std::bit_cast<std::uint32_t>(value);
}

static_assert(casts::f32_to_f16(0x3f800000) == 0x3c00, "usable in constant expressions");

TEST(Casts, FollowTheReferenceForEverySmallValue) {
  for (const Dtype from : {f16, bf16, f8_e4m3, f8_e5m2}) {
    for (std::uint64_t element = 0; element < (std::uint64_t{1} << bits(from)); ++element)
      expect_reference(from, element);
  }
}

TEST(Casts, GiveEverySmallValueBackThroughWiderTypes) {
  for (const Dtype small : {f16, bf16, f8_e4m3, f8_e5m2}) {
    for (std::uint64_t element = 0; element < (std::uint64_t{1} << bits(small)); ++element) {
      const bool nan = std::isnan(value_of(small, element));
      const std::uint64_t expected = nan ? nan_of(small) | (element & sign_bit(small)) : element;
      ASSERT_EQ(scalar_cast(f32, scalar_cast(small, element, f32), small), expected) << name(small) << ' ' << element;
      ASSERT_EQ(scalar_cast(f64, scalar_cast(small, element, f64), small), expected) << name(small) << ' ' << element;
    }
  }
}

// By search: between two neighbours the nearer one wins, and halfway the even one.
TEST(Casts, RoundToTheNearerNeighbourAndHalfwayToTheEvenOne) {
  for (const Dtype to : {f16, bf16, f8_e4m3, f8_e5m2}) {
    const Format& f = format(to);
    const std::uint64_t largest = f.infinity - (f.beyond == infinite ? 1 : 0);
    for (std::uint64_t below = 0; below <= largest; ++below) {
      const double low = value_of(to, below);
      // Above the largest value lies what would be the next one, were there more exponents. Saturation hides it.
      const double high = below == largest ? 2 * low - value_of(to, below - 1) : value_of(to, below + 1);
      const std::uint64_t above = below == largest ? f.infinity : below + 1;
      const double middle = (low + high) / 2;
      const auto halfway = static_cast<float>(middle);
      ASSERT_EQ(static_cast<double>(halfway), middle);
      const std::uint64_t even = below % 2 == 0 ? below : above;
      for (const bool negative : {false, true}) {
        const std::uint64_t sign = negative ? sign_bit(to) : 0;
        const auto encode = [&](float value) { return scalar_encode(to, bits_of(negative ? -value : value)); };
        ASSERT_EQ(encode(static_cast<float>(low)), sign | below) << name(to);
        ASSERT_EQ(encode(std::nextafterf(halfway, 0)), sign | below) << name(to);
        ASSERT_EQ(encode(halfway), sign | even) << name(to) << ' ' << below;
        ASSERT_EQ(encode(std::nextafterf(halfway, HUGE_VALF)), sign | above) << name(to);
      }
    }
  }
}

TEST(Casts, FollowTheReferenceInTheCornersOfF32) {
  const std::vector<std::uint32_t> magnitudes = {
      0,          1,          2,          3,          0x00400000, 0x007fffff, 0x00800000, 0x00800001,
      0x00ffffff, 0x33000000, 0x33000001, 0x38800000, 0x387fffff, 0x3f7fffff, 0x3f800000, 0x3f800001,
      0x43e00000, 0x43e80000, 0x43e80001, 0x43f00000, 0x47600000, 0x47700000, 0x476fffff, 0x477fe000,
      0x477ff000, 0x477fefff, 0x47800000, 0x7f7f0000, 0x7f7f7fff, 0x7f7f8000, 0x7f7fffff, 0x7f800000,
      0x7f800001, 0x7fbfffff, 0x7fc00000, 0x7fc00001, 0x7fffffff};
  for (const std::uint32_t magnitude : magnitudes) {
    expect_reference(f32, magnitude);
    expect_reference(f32, magnitude | 0x80000000);
  }
  // Every exponent, with fractions on both sides of all that rounding looks at.
  for (std::uint32_t exponent = 0; exponent < 256; ++exponent) {
    for (int bit = 0; bit < 23; ++bit) {
      const std::uint32_t one = 1u << bit;
      for (const std::uint32_t fraction : {one, one - 1, one + 1, 0x007fffff - one, 0x00800000 - one, 3 * one}) {
        const std::uint32_t element = (exponent << 23) | (fraction & 0x007fffff);
        expect_reference(f32, element);
        expect_reference(f32, element | 0x80000000);
      }
    }
  }
}

TEST(Casts, FollowTheReferenceInTheCornersOfF64) {
  for (const std::uint64_t magnitude :
       {bits_of(0.0), bits_of(0x1p-1074), bits_of(0x1p-1022), bits_of(0x1p-150), bits_of(0x1p-149), bits_of(0x1p-126),
        bits_of(0x1.fffffep127), bits_of(0x1.ffffffp127), bits_of(0x1p128), bits_of(0x1p1023), bits_of(infinite),
        std::uint64_t{0x7ff0000000000001}, std::uint64_t{0x7ff0000080000000}, std::uint64_t{0x7ff0000100000000},
        std::uint64_t{0x7ff8000000000000}, std::uint64_t{0x7fffffffffffffff}}) {
    for (const std::uint64_t nearby : {magnitude - 1, magnitude, magnitude + 1}) {
      expect_reference(f64, nearby);
      expect_reference(f64, nearby ^ sign_bit(f64));
    }
  }
  // Midpoints between neighbours in F32, F32 subnormals among them, and what is next to them in F64.
  std::mt19937 random(1);
  for (int i = 0; i < random_values / 50; ++i) {
    const auto low = std::bit_cast<float>(static_cast<std::uint32_t>(random()) & 0x7fffffffu);
    if (!std::isfinite(low) || low == std::numeric_limits<float>::max()) continue;
    const double middle = (static_cast<double>(low) + static_cast<double>(std::nextafterf(low, HUGE_VALF))) / 2;
    for (const std::uint64_t nearby : {bits_of(middle) - 1, bits_of(middle), bits_of(middle) + 1}) {
      expect_reference(f64, nearby);
      expect_reference(f64, nearby | sign_bit(f64));
    }
  }
}

// Exponents that all formats share are drawn half of the time: among all bit patterns they are rare.
TEST(Casts, FollowTheReferenceForRandomF32) {
  std::mt19937_64 random(2);
  for (int i = 0; i < random_values; ++i) {
    const std::uint64_t drawn = random();
    auto element = static_cast<std::uint32_t>(drawn);
    if (i % 2 == 0) element = (element & 0x807fffff) | ((99 + static_cast<std::uint32_t>(drawn >> 32) % 48) << 23);
    expect_reference(f32, element);
  }
}

TEST(Casts, FollowTheReferenceForRandomF64) {
  std::mt19937_64 random(3);
  for (int i = 0; i < random_values; ++i) {
    std::uint64_t element = random();
    // Half within F32's range and a little beyond, a quarter in the range of all.
    if (i % 2 == 0) element = (element & 0x800fffffffffffff) | ((870 + random() % 290) << 52);
    if (i % 4 == 1) element = (element & 0x800fffffffffffff) | ((995 + random() % 48) << 52);
    expect_reference(f64, element);
  }
}

TEST(Casts, RoundF64TwiceBecauseTheyGoThroughF32) {
  // Just above halfway between two BF16; the first rounding, to F32, makes it exactly halfway.
  EXPECT_EQ(scalar_cast(f64, bits_of(1 + 0x1p-8 + 0x1p-40), bf16), 0x3f80u);
  EXPECT_EQ(scalar_cast(f32, bits_of(1 + 0x1p-8F + 0x1p-20F), bf16), 0x3f81u);
}

TEST(Casts, SaturateE4m3AndMakeE5m2Infinite) {
  for (const float value : {448.0F, 464.0F, 465.0F, 1e30F, HUGE_VALF}) {
    EXPECT_EQ(casts::f32_to_e4m3(bits_of(value)), 0x7e) << value;
    EXPECT_EQ(casts::f32_to_e4m3(bits_of(-value)), 0xfe) << value;
  }
  EXPECT_EQ(casts::f32_to_e5m2(bits_of(std::nextafterf(61440, 0))), 0x7b);
  EXPECT_EQ(casts::f32_to_e5m2(bits_of(61440.0F)), 0x7c);
  EXPECT_EQ(casts::f32_to_e5m2(bits_of(-HUGE_VALF)), 0xfc);
}

TEST(Casts, MakeEveryNanCanonicalAndKeepItsSign) {
  for (const std::uint32_t nan : {0x7f800001u, 0x7fabcdefu, 0x7fffffffu}) {
    EXPECT_EQ(scalar_encode(f64, nan), 0x7ff8000000000000u);
    EXPECT_EQ(scalar_encode(f16, nan), 0x7e00u);
    EXPECT_EQ(scalar_encode(bf16, nan), 0x7fc0u);
    EXPECT_EQ(scalar_encode(f8_e4m3, nan), 0x7fu);
    EXPECT_EQ(scalar_encode(f8_e5m2, nan), 0x7fu);
    EXPECT_EQ(scalar_encode(f64, nan | 0x80000000), 0xfff8000000000000u);
    EXPECT_EQ(scalar_encode(f8_e4m3, nan | 0x80000000), 0xffu);
  }
  EXPECT_EQ(scalar_decode(f64, 0xfff0000000000001), 0xffc00000u);
  EXPECT_EQ(scalar_decode(f16, 0xfc01), 0xffc00000u);
  EXPECT_EQ(scalar_decode(bf16, 0xff81), 0xffc00000u);
  EXPECT_EQ(scalar_decode(f8_e4m3, 0xff), 0xffc00000u);
  EXPECT_EQ(scalar_decode(f8_e5m2, 0xfd), 0xffc00000u);
}

}  // namespace
}  // namespace sluice
