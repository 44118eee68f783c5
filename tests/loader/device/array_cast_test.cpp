// Goal: cast_elements() does what casts.hpp says of one element, for every length and alignment, whichever instruction
// set it chooses, and touches nothing else.
// Method: beside scalar_cast(), for all 36 pairs, on each instruction set that cast.cpp was compiled for and this
// processor has; guard bytes around the target, inaccessible pages behind both; rounding modes and flush-to-zero set
// against it. Under a sanitizer each length is tried with 16 of the 256 combinations of alignments.
#include "loader/device/array_cast.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cfenv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "tests/loader/support/sanitized.hpp"
#include "tests/loader/support/scalar_cast.hpp"

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)  // as in cast.cpp, which was not compiled for them
#include "hwy/targets.h"

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace sluice {
namespace {

using Bytes = std::vector<unsigned char>;

constexpr std::size_t length_max = 200;
constexpr unsigned char guard = 0xa5;

std::size_t size_of(Dtype dtype) {
  return bits(dtype) / 8;
}

std::uint64_t read_element(Dtype dtype, const unsigned char* bytes) {
  std::uint64_t element = 0;  // little-endian, as all that sluice runs on
  std::memcpy(&element, bytes, size_of(dtype));
  return element;
}

Bytes scalar_cast_all(Dtype from, const Bytes& source, Dtype to) {
  const std::size_t count = source.size() / size_of(from);
  Bytes target(count * size_of(to));
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t element = scalar_cast(from, read_element(from, &source[i * size_of(from)]), to);
    std::memcpy(&target[i * size_of(to)], &element, size_of(to));
  }
  return target;
}

// Random bits, the first few of them corners: zeros, the smallest and largest, infinities and NaNs.
Bytes elements(Dtype dtype, std::size_t count) {
  static constexpr std::array<std::uint64_t, 8> f64_corners{0,
                                                            1,
                                                            0x8000000000000001,
                                                            0x7fefffffffffffff,
                                                            0x7ff0000000000000,
                                                            0xfff0000000000001,
                                                            0x7fffffffffffffff,
                                                            0x3ff0000010000000};
  Bytes bytes(count * size_of(dtype));
  std::mt19937_64 random(bits(dtype));
  for (std::size_t i = 0; i < count; ++i) {
    std::uint64_t element = random();
    // F64 and F32 seldom have an exponent by chance that the small formats share.
    if (dtype == f64 && i % 4 != 0) element = (element & 0x800fffffffffffff) | ((995 + random() % 48) << 52);
    if (dtype == f32 && i % 4 != 0) element = (element & 0x807fffff) | ((99 + random() % 48) << 23);
    if (i < f64_corners.size()) element = dtype == f64 ? f64_corners[i] : scalar_cast(f64, f64_corners[i], dtype);
    std::memcpy(&bytes[i * size_of(dtype)], &element, size_of(dtype));
  }
  return bytes;
}

void for_each_pair(const std::function<void(Dtype, Dtype)>& check) {
  for (const Dtype from : castable_dtypes) {
    for (const Dtype to : castable_dtypes) check(from, to);
  }
}

// One run for each of those instruction sets.
class Cast : public testing::TestWithParam<std::int64_t> {
 public:
  Cast() { choose(GetParam()); }
  ~Cast() override { choose(0); }

 private:
  static void choose(std::int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

std::vector<std::int64_t> instruction_sets() {
  std::vector<std::int64_t> sets = hwy::SupportedAndGeneratedTargets();
  std::erase_if(sets, [](std::int64_t set) { return set == HWY_SCALAR || set == HWY_EMU128; });
  sets.push_back(HWY_EMU128);  // the baseline, whatever it is called
  return sets;
}

INSTANTIATE_TEST_SUITE_P(On, Cast, testing::ValuesIn(instruction_sets()),
                         [](const auto& run) { return std::string(hwy::TargetName(run.param)); });

void check_length_and_alignment(Dtype from, std::span<const unsigned char> source, Dtype to, const Bytes& expected,
                                std::size_t length, std::size_t source_offset, std::size_t target_offset) {
  alignas(64) static unsigned char source_buffer[length_max * 8 + 16];
  alignas(64) static unsigned char target_buffer[16 + length_max * 8 + 32];
  alignas(64) static unsigned char expected_buffer[sizeof target_buffer];
  const std::size_t target_begin = 16 + target_offset;
  const std::size_t target_bytes = length * size_of(to);
  std::memcpy(source_buffer + source_offset, source.data(), length * size_of(from));
  std::memset(target_buffer, guard, sizeof target_buffer);
  std::memset(expected_buffer, guard, sizeof expected_buffer);
  std::memcpy(expected_buffer + target_begin, expected.data(), target_bytes);
  cast_elements(from, source_buffer + source_offset, to, target_buffer + target_begin, length);
  ASSERT_EQ(std::memcmp(target_buffer, expected_buffer, sizeof target_buffer), 0)
      << name(from) << " to " << name(to) << ", length " << length << ", source at " << source_offset << ", target at "
      << target_offset;
}

TEST_P(Cast, AgreesWithTheScalarForEveryLengthAndAlignment) {
  for_each_pair([](Dtype from, Dtype to) {
    const Bytes source = elements(from, length_max);
    const Bytes expected = scalar_cast_all(from, source, to);
    for (std::size_t length = 0; length <= length_max; ++length) {
      for (std::size_t source_offset = 0; source_offset < 16; ++source_offset) {
        for (std::size_t target_offset = 0; target_offset < 16; ++target_offset) {
          if (sanitized && target_offset != (source_offset * 5 + length) % 16) continue;
          check_length_and_alignment(from, source, to, expected, length, source_offset, target_offset);
        }
      }
    }
  });
}

TEST_P(Cast, AgreesWithTheScalarForEverySmallValueAndManyLargeOnes) {
  for_each_pair([](Dtype from, Dtype to) {
    Bytes source = elements(from, 100'003);
    if (size_of(from) <= 2) {
      source.resize((std::size_t{1} << bits(from)) * size_of(from));
      for (std::size_t i = 0; i < source.size() / size_of(from); ++i) {
        std::memcpy(&source[i * size_of(from)], &i, size_of(from));
      }
    }
    Bytes target(source.size() / size_of(from) * size_of(to));
    cast_elements(from, source.data(), to, target.data(), source.size() / size_of(from));
    EXPECT_TRUE(target == scalar_cast_all(from, source, to)) << name(from) << " to " << name(to);
  });
}

// Two pages, the second of which must not be touched.
class GuardedPage {
 public:
  GuardedPage() {
    void* pages = mmap(nullptr, 2 * bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages, bytes_, PROT_READ | PROT_WRITE) != 0) std::abort();
    begin_ = static_cast<unsigned char*>(pages);
  }
  ~GuardedPage() { munmap(begin_, 2 * bytes_); }
  GuardedPage(const GuardedPage&) = delete;
  GuardedPage& operator=(const GuardedPage&) = delete;

  unsigned char* before_end(std::size_t bytes) { return begin_ + bytes_ - bytes; }

 private:
  std::size_t bytes_ = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  unsigned char* begin_ = nullptr;
};

TEST_P(Cast, ReachesNotBeyondTheLastElement) {
  GuardedPage source_page;
  GuardedPage target_page;
  for_each_pair([&](Dtype from, Dtype to) {
    const Bytes source = elements(from, length_max);
    const Bytes expected = scalar_cast_all(from, source, to);
    for (std::size_t length = 0; length <= length_max; ++length) {
      unsigned char* const source_begin = source_page.before_end(length * size_of(from));
      unsigned char* const target_begin = target_page.before_end(length * size_of(to));
      std::memcpy(source_begin, source.data(), length * size_of(from));
      cast_elements(from, source_begin, to, target_begin, length);
      ASSERT_EQ(std::memcmp(target_begin, expected.data(), length * size_of(to)), 0)
          << name(from) << " to " << name(to);
    }
  });
}

TEST_P(Cast, LeavesBytesAsTheyAreBetweenEqualDtypes) {
  for (const Dtype dtype : castable_dtypes) {
    Bytes source(1003 * size_of(dtype), 0xff);  // NaNs with payloads
    source.front() = 0x81;
    Bytes target(source.size());
    cast_elements(dtype, source.data(), dtype, target.data(), 1003);
    EXPECT_TRUE(target == source) << name(dtype);
  }
}

TEST_P(Cast, OfNothingNeedsNoMemory) {
  for_each_pair([](Dtype from, Dtype to) { cast_elements(from, nullptr, to, nullptr, 0); });
}

TEST_P(Cast, CaresNotForTheRoundingMode) {
  for_each_pair([](Dtype from, Dtype to) {
    const Bytes source = elements(from, 1000);
    const Bytes expected = scalar_cast_all(from, source, to);
    for (const int mode : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
      Bytes target(expected.size());
      ASSERT_EQ(std::fesetround(mode), 0);
      cast_elements(from, source.data(), to, target.data(), 1000);
      ASSERT_EQ(std::fesetround(FE_TONEAREST), 0);
      EXPECT_TRUE(target == expected) << name(from) << " to " << name(to);
    }
  });
}

#if defined(__SSE2__)
TEST_P(Cast, CaresNotForFlushToZero) {
  constexpr unsigned flush_to_zero_and_denormals_are_zero = 0x8040;
  for_each_pair([&](Dtype from, Dtype to) {
    // The smallest values of a type, and of F64 what becomes the smallest of F32.
    Bytes source(256 * size_of(from));
    for (std::size_t i = 0; i < 256; ++i) {
      const std::uint64_t element = from == f64 ? scalar_cast(f32, i, f64) : i;
      std::memcpy(&source[i * size_of(from)], &element, size_of(from));
    }
    const Bytes expected = scalar_cast_all(from, source, to);
    Bytes target(expected.size());
    const unsigned saved = _mm_getcsr();
    _mm_setcsr(saved | flush_to_zero_and_denormals_are_zero);
    cast_elements(from, source.data(), to, target.data(), 256);
    _mm_setcsr(saved);
    EXPECT_TRUE(target == expected) << name(from) << " to " << name(to);
  });
}
#endif

}  // namespace
}  // namespace sluice
