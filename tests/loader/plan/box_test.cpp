// Goal: a slice is worked out against a shape, or refused with the numbers that do not fit.
#include "loader/plan/box.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sluice/error.hpp"

namespace sluice {
namespace {

using testing::HasSubstr;
using Shape = std::vector<std::uint64_t>;

std::string box(const Slice& slice, const Shape& shape) {
  try {
    return text(box_of(slice, shape));
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    return error.message();
  }
}

TEST(Box, TakesWhatTheSliceSays) {
  EXPECT_EQ(box({}, {}), "[]");
  EXPECT_EQ(box({}, {8, 6}), "[:, :]");
  EXPECT_EQ(box(take(0, 2, 4).part(1, 1, 3), {8, 6}), "[2:6, 2:4]");
  EXPECT_EQ(box(take(0, 2).take(0, 1, 2), {8}), "[3:5]") << "a second cut counts within the first";
  EXPECT_EQ(box(part(0, 1, 2).part(0, 1, 2), {8}), "[6:8]");
  EXPECT_EQ(box(as({4, 12}).at(0, 3), {8, 6}), "[3:4, :]");
  EXPECT_EQ(box(take(0, 8), {8}), "[8:8]") << "no elements at all";
  EXPECT_EQ(box_of(take(0, 0, 0), Shape{8, 3}).elements(), 0u);
  EXPECT_EQ(box_of(take(0, 1, 5), Shape{8, 3}).elements(), 15u);
}

TEST(Box, RefusesWhatDoesNotFit) {
  EXPECT_THAT(box(take(0, 7, 2), {8}), HasSubstr("slice [7:9]: 2 from 7 on of dimension 0, which has 8"));
  EXPECT_THAT(box(take(0, 9), {8}), HasSubstr("from 9 on of dimension 0, which has 8"));
  EXPECT_THAT(box(take(0, UINT64_MAX, 2), {8}), HasSubstr("which has 8"));
  EXPECT_THAT(box(take(0, 2, 4).take(0, 3, 2), {8}), HasSubstr("2 from 3 on of dimension 0, which has 4"));
  EXPECT_THAT(box(at(1, 0), {8}), HasSubstr("there is no dimension 1 in [8]"));
  EXPECT_THAT(box(part(0, 0, 3), {8}), HasSubstr("dimension 0 has 8, which 3 parts do not divide"));
  EXPECT_THAT(box(part(0, 2, 2), {8}), HasSubstr("no part 2 of 2"));
  EXPECT_THAT(box(part(0, 0, 0), {8}), HasSubstr("no 0 parts"));
  EXPECT_THAT(box(as({3, 3}), {8}), HasSubstr("[3, 3] has 9 elements, and [8] has 8"));
  EXPECT_THAT(box(as({UINT64_MAX, 2}), {8}), HasSubstr("elements"));
  EXPECT_THAT(box(as(Shape(65, 1)), {1}), HasSubstr("65 dimensions, more than 64"));
  for (const std::vector<unsigned>& wrong : {std::vector<unsigned>{0}, {0, 0}, {1, 2}, {0, 1, 2}}) {
    EXPECT_THAT(box(order(wrong), {8, 3}), HasSubstr("the order is none of the 2 dimensions"));
  }
}

TEST(Box, ElementsOfAShapeDoNotWrap) {
  EXPECT_EQ(elements_of(Shape{}), 1u);
  EXPECT_EQ(elements_of(Shape{3, 4}), 12u);
  EXPECT_EQ(elements_of(Shape{UINT64_MAX, UINT64_MAX}), UINT64_MAX);
  EXPECT_EQ(elements_of(Shape{UINT64_MAX, UINT64_MAX, 0}), 0u);
  EXPECT_EQ(elements_of(Shape{1ull << 40, 1ull << 40, 1, 3}), UINT64_MAX) << "nor where what follows would fit again";
}

}  // namespace
}  // namespace sluice
