// Goal: what boxes leave out, and what two of them share, is found exactly.
// Method: random boxes against a count of every element; worked examples.
#include "loader/plan/coverage.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace sluice {
namespace {

using Shape = std::vector<std::uint64_t>;

// How many of the boxes hold each element of the shape.
std::vector<unsigned> count(const Shape& shape, const std::vector<Box>& boxes) {
  std::vector<unsigned> times(elements_of(shape));
  for (std::uint64_t i = 0; i < times.size(); ++i) {
    for (const Box& box : boxes) {
      bool inside = true;
      std::uint64_t rest = i;
      for (std::size_t d = shape.size(); d-- > 0;) {
        const std::uint64_t index = rest % shape[d];
        rest /= shape[d];
        inside = inside && index >= box.begin[d] && index < box.begin[d] + box.count[d];
      }
      times[i] += inside ? 1 : 0;
    }
  }
  return times;
}

TEST(Coverage, IsWhatCountingEveryElementFinds) {
  for (unsigned seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto draw = [&](std::uint64_t least, std::uint64_t most) {
      return std::uniform_int_distribution<std::uint64_t>(least, most)(random);
    };
    Shape shape(draw(0, 3));
    for (std::uint64_t& size : shape) size = draw(draw(0, 9) == 0 ? 0 : 1, 6);
    std::vector<Box> boxes(draw(0, 6));
    for (Box& box : boxes) {
      Slice slice;
      for (unsigned d = 0; d < shape.size(); ++d) {
        const std::uint64_t begin = draw(0, shape[d]);
        slice.take(d, begin, draw(0, shape[d] - begin));
      }
      box = box_of(slice, shape);
    }
    const Coverage coverage = cover(shape, boxes);
    const std::vector<unsigned> times = count(shape, boxes);
    const bool twice = std::any_of(times.begin(), times.end(), [](unsigned n) { return n > 1; });
    ASSERT_EQ(coverage.overlap.has_value(), twice);
    if (twice) {
      const std::vector<unsigned> both =
          count(shape, {boxes[coverage.overlap->first], boxes[coverage.overlap->second]});
      const std::vector<unsigned> shared = count(shape, {coverage.shared});
      ASSERT_GT(coverage.shared.elements(), 0u);
      for (std::size_t i = 0; i < both.size(); ++i) ASSERT_TRUE(shared[i] == 0 || both[i] == 2);
    } else {
      const std::vector<unsigned> gaps = count(shape, coverage.gaps);
      for (std::size_t i = 0; i < times.size(); ++i) ASSERT_EQ(gaps[i] + times[i], 1u) << "element " << i;
    }
  }
}

// 256 experts, two halves each.
TEST(Coverage, OfNothingHasNoGaps) {
  const std::vector<std::uint64_t> shape = {0, 4};
  EXPECT_TRUE(cover(shape, {}).gaps.empty());
}

TEST(Coverage, OfAGridIsFoundInTheTimeOfASort) {
  const Shape shape = {2000, 2, 8, 8};
  std::vector<Box> boxes;
  for (std::uint64_t expert = 0; expert < shape[0]; ++expert) {
    for (std::uint64_t half = 0; half < 2; ++half) boxes.push_back(box_of(at(0, expert).at(1, half), shape));
  }
  EXPECT_TRUE(cover(shape, boxes).gaps.empty());
  boxes.erase(boxes.begin() + 77);
  const Coverage coverage = cover(shape, boxes);
  ASSERT_EQ(coverage.gaps.size(), 1u);
  EXPECT_EQ(text(coverage.gaps[0]), "[38:39, 1:2, :, :]");
}

}  // namespace
}  // namespace sluice
