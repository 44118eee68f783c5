// Goal: the kernel brings every element to its place, copied or cast as the host would, from and to any alignment, and
// touches nothing else.
// Method: the PTX text is read out of the library and executed, thread by thread. The extent ends where scratch ends,
// and the arena where the last element goes; every byte of the arena is compared, those between elements too. Beside
// cast_elements(), whose own tests say what is right. Values: all of 8 and 16 bits; of F64 and F32 corners and samples.
// Under a sanitizer fewer cases are drawn. More of them: deliver_sweep, by hand. On a GPU, the same: scripts/gpu-check.
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "cuda/kernel_image.hpp"
#include "tests/cuda/delivery_work.hpp"
#include "tests/cuda/runner.hpp"
#include "tests/loader/sanitized.hpp"
#include "tests/loader/scalar_cast.hpp"

namespace sluice {
namespace {

class Deliver : public testing::Test {
 protected:
  void SetUp() override {
    if (shipped_ptx().empty()) GTEST_SKIP() << "the library was built without nvcc";
  }

  static void TearDownTestSuite() { runner_.reset(); }

  static Runner& kernel() {
    if (runner_ == nullptr) runner_.reset(new Runner(Runner::shipped()));
    return *runner_;
  }

  static void expect_right(DeliveryWork& work) { EXPECT_EQ(work.run(kernel()), ""); }

 private:
  static inline std::unique_ptr<Runner> runner_;
};

template <typename Check>
void for_each_cast(Check check) {
  for (const Dtype from : castable_dtypes) {
    for (const Dtype to : castable_dtypes) {
      if (from != to) check(from, to);
    }
  }
}

TEST_F(Deliver, CopiesEveryLengthFromAndToAnyAlignment) {
  DeliveryWork work;
  for (std::uint32_t length = 1; length <= 4'100; length += sanitized ? 13 : 1) {
    work.add({.elements = length, .source_skew = work.draw(0, 15), .target_skew = work.draw(0, 15)});
  }
  expect_right(work);
}

TEST_F(Deliver, CopiesFromEveryAlignmentToEveryOther) {
  DeliveryWork work;
  for (std::uint32_t source_skew = 0; source_skew < 16; ++source_skew) {
    for (std::uint32_t target_skew = 0; target_skew < 16; ++target_skew) {
      for (const std::uint32_t edge : {0, 16, 32, 48, 2048}) {
        if (edge == 2048 && sanitized) continue;
        work.add({.elements = edge + work.draw(1, 16), .source_skew = source_skew, .target_skew = target_skew});
      }
    }
  }
  expect_right(work);
}

TEST_F(Deliver, CastsFromEveryAlignmentToEveryPlaceOfAVector) {
  for_each_cast([](Dtype from, Dtype to) {
    DeliveryWork work;
    for (std::uint32_t source_skew = 0; source_skew < 16; ++source_skew) {
      for (std::uint32_t element = 0; element < 8; ++element) {
        if (sanitized && work.draw(0, 7) != 0) continue;
        work.add({.from = from,
                  .to = to,
                  .elements = work.draw(1, 30),
                  .source_skew = source_skew,
                  .target_skew = element * bits(to) / 8});
      }
    }
    expect_right(work);
  });
}

TEST_F(Deliver, CastsEveryLengthAroundTheEdgesOfVectorsAndTiles) {
  for_each_cast([](Dtype from, Dtype to) {
    DeliveryWork work;
    const auto add = [&](std::uint32_t elements) {
      if (sanitized && work.draw(0, 7) != 0) return;
      work.add({.from = from,
                .to = to,
                .elements = elements,
                .source_skew = work.draw(0, 15),
                .target_skew = work.draw(0, 7) * bits(to) / 8});
    };
    for (std::uint32_t elements = 1; elements <= 33; ++elements) add(elements);
    for (std::uint32_t elements = 1'015; elements <= 1'033; elements += 3) add(elements);
    for (std::uint32_t elements = 4'088; elements <= 4'104; elements += 8) add(elements);
    expect_right(work);
  });
}

TEST_F(Deliver, CastsEveryValueOfEightAndSixteenBits) {
  for_each_cast([](Dtype from, Dtype to) {
    if (bits(from) > 16) return;
    DeliveryWork work;
    // Each value as each of a vector's elements, which the kernel's code treats one by one.
    for (std::uint32_t element = 0; element < (sanitized ? 1 : 8); ++element) {
      work.add_all_values(from, to, work.draw(0, 15), element * bits(to) / 8);
    }
    expect_right(work);
  });
}

TEST_F(Deliver, CastsCornersAndSamplesOfLargeFormats) {
  for_each_cast([](Dtype from, Dtype to) {
    if (bits(from) <= 16) return;
    DeliveryWork work;
    work.add({.from = from, .to = to, .elements = sanitized ? 3'000u : 50'000u, .source_skew = 8});
    expect_right(work);
  });
}

TEST_F(Deliver, ReadsNothingBeyondScratchAndWritesNothingBeyondTheArena) {
  // One piece that is all of the extent, but for its first bytes, and all of the arena.
  const auto deliver = [](Dtype from, Dtype to) {
    for (std::uint32_t skew = 0; skew < 16; ++skew) {
      DeliveryWork work(skew);
      work.add({.from = from,
                .to = to,
                .elements = work.draw(1, 40),
                .source_skew = skew,
                .target_skew = from == to ? work.draw(0, 15) : work.draw(0, 7) * bits(to) / 8});
      expect_right(work);
    }
  };
  deliver(u8, u8);
  for_each_cast(deliver);
}

TEST_F(Deliver, PlacesStridedRows) {
  const auto deliver = [](Dtype from, Dtype to) {
    DeliveryWork work;
    for (const std::uint32_t rows : {2, 7, 130}) {
      for (const std::uint32_t elements : {1, 2, 8, 17, 64}) {
        if (sanitized && work.draw(0, 3) != 0) continue;
        work.add({.from = from,
                  .to = to,
                  .elements = elements,
                  .rows = rows,
                  .source_gap = work.draw(0, 40),
                  .target_gap = work.draw(0, 10) * bits(to) / 8,
                  .source_skew = work.draw(0, 15)});
      }
    }
    expect_right(work);
  };
  deliver(u8, u8);
  deliver(f32, bf16);
  deliver(bf16, f8_e4m3);
  deliver(f8_e5m2, f64);
}

TEST_F(Deliver, PlacesManySmallPiecesBesideALargeOne) {
  DeliveryWork work;
  const std::uint32_t count = sanitized ? 300 : 5'000;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (i == count / 2) work.add({.elements = 1 << 18, .source_skew = 3});
    work.add({.elements = 64, .source_skew = 8 * (i % 2), .target_skew = 16 * (i % 3)});
    if (i % 16 == 0) work.add({.from = f32, .to = bf16, .elements = 16});
  }
  expect_right(work);
}

TEST_F(Deliver, DoesNothingWithoutPieces) {
  std::vector<std::byte> arena(64, std::byte{0xa5});
  kernel().launch({}, {}, DeliveryTable{}, arena, 0);
  EXPECT_EQ(arena, std::vector<std::byte>(64, std::byte{0xa5}));
}

// A text but for blanks and comments, which nvcc drops from what it embeds, and for the version that it declares.
std::string code_of(std::string_view text) {
  std::istringstream lines{std::string(text)};
  std::string code;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(".version ")) continue;
    line.resize(std::min(line.find("//"), line.size()));
    std::copy_if(line.begin(), line.end(), std::back_inserter(code), [](char c) { return c != ' ' && c != '\t'; });
  }
  return code;
}

TEST_F(Deliver, IsTheSameForOldDrivers) {
  const std::span<const std::byte> bytes = kernel_ptx_for_old_drivers();
  const std::string_view old(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  EXPECT_NE(old.find("\n.version 6.3\n"), std::string_view::npos);
  EXPECT_TRUE(code_of(old) == code_of(shipped_ptx()));
  Runner runner(old);
  for_each_cast([&](Dtype from, Dtype to) {
    DeliveryWork work;
    work.add({.from = from, .to = to, .elements = 300, .source_skew = 5});
    EXPECT_EQ(work.run(runner), "");
  });
}

}  // namespace
}  // namespace sluice
