// Goal: slices say what was asked for, in words that can be read back, and scales follow the blocks that they scale.
#include "sluice/slice.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sluice/error.hpp"

namespace sluice {
namespace {

using testing::HasSubstr;

TEST(Slice, IsWrittenAsPlansAndRulesFilesSpellIt) {
  EXPECT_EQ(text(Slice()), "");
  EXPECT_EQ(text(take(0, 512, 128)), "[512:640]");
  EXPECT_EQ(text(take(0, 512)), "[512:]");
  EXPECT_EQ(text(take(1, 0, 7)), "[:, :7]");
  EXPECT_EQ(text(take(1, 0)), "[:, :]");
  EXPECT_EQ(text(at(2, 5)), "[:, :, 5]");
  EXPECT_EQ(text(part(0, 1, 8)), "[part 1 of 8]");
  EXPECT_EQ(text(part(1, 1, 8).at(0, 3)), "[3, part 1 of 8]");
  EXPECT_EQ(text(take(0, 4, 8).part(0, 1, 2)), "[4:12][part 1 of 2]") << "the second counts within the first";
  EXPECT_EQ(text(as({8, 2, 96})), "as [8, 2, 96]");
  EXPECT_EQ(text(as({8, 2, 96}).at(1, 0)), "[:, 0] as [8, 2, 96]");
  EXPECT_EQ(text(order({1, 0})), "order (1, 0)");
  EXPECT_EQ(text(as({2, 3}).take(0, 1, 1).order({1, 0})), "[1] as [2, 3] order (1, 0)");
  EXPECT_EQ(text(take(1'000'000'000, 1, 2)), "[1:3 of dimension 1000000000]");
  EXPECT_EQ(text(take(0, UINT64_MAX, 2)), "[18446744073709551615:18446744073709551615+2]");
}

TEST(Slice, KeepsMoreThanFourDimensions) {
  Slice slice = as({1, 2, 3, 4, 5, 6});
  for (unsigned i = 0; i < 6; ++i) slice.take(i, 0, 1);
  const Slice copy = slice;
  EXPECT_EQ(copy, slice);
  EXPECT_EQ(text(copy), "[0, 0, 0, 0, 0, 0] as [1, 2, 3, 4, 5, 6]");
  slice.order({5, 4, 3, 2, 1, 0});
  EXPECT_FALSE(copy == slice);
  const Slice moved = std::move(slice);
  EXPECT_EQ(text(moved), "[0, 0, 0, 0, 0, 0] as [1, 2, 3, 4, 5, 6] order (5, 4, 3, 2, 1, 0)");
}

TEST(Slice, ForgetsItsCutsWhenItSeesAnotherShape) {
  EXPECT_EQ(text(take(0, 1, 2).as({4, 4}).take(1, 0, 2)), "[:, :2] as [4, 4]");
}

TEST(BlocksOf, CoversTheBlocksOfASlice) {
  EXPECT_EQ(text(blocks_of(part(0, 1, 4), {1024, 512}, {128, 128})), "[2:4]");
  EXPECT_EQ(text(blocks_of(take(0, 128, 200), {1024, 512}, {128, 128})), "[1:3]") << "an end inside takes the block";
  EXPECT_EQ(text(blocks_of(take(1, 128, 64), {1024, 512}, {128, 128})), "[:, 1]");
  EXPECT_EQ(text(blocks_of(Slice(), {1000, 500}, {128, 128})), "") << "the last blocks may be short";
  EXPECT_EQ(text(blocks_of(take(0, 896), {1000, 500}, {128, 128})), "[7]");
  EXPECT_EQ(text(blocks_of(take(0, 0, 0), {1024}, {128})), "[:0]");
}

std::string refusal(const Slice& of, const std::vector<std::uint64_t>& shape, const std::vector<std::uint64_t>& block) {
  try {
    blocks_of(of, shape, block);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    return error.what();
  }
  return "accepted";
}

TEST(BlocksOf, RefusesWhatItCannotSay) {
  EXPECT_THAT(refusal(part(0, 1, 3), {384 * 3 / 2, 8}, {128, 8}), HasSubstr("begins inside a block of 128, at 192"));
  EXPECT_THAT(refusal(part(0, 1, 2), {256}, {0}), HasSubstr("size of 0 in dimension 0"));
  EXPECT_THAT(refusal(part(0, 1, 2), {256, 4}, {128}), HasSubstr("blocks of 1 dimensions for a tensor of 2"));
  EXPECT_THAT(refusal(as({2, 128}), {256}, {128}), HasSubstr("as() or order()"));
  EXPECT_THAT(refusal(order({1, 0}), {2, 2}, {1, 1}), HasSubstr("as() or order()"));
  EXPECT_THAT(refusal(take(0, 200, 100), {256}, {128}), HasSubstr("100 from 200 on of dimension 0, which has 256"));
}

}  // namespace
}  // namespace sluice
