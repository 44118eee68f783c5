// Goal: the pieces of a request are what its rules say, tensor by tensor, and slices are told of in numbers.
#include "loader/rules/pieces.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loader/support/rules_case.hpp"

namespace sluice {
namespace {

TEST(Pieces, AreSortedByDestination) {
  const RulesCase on;
  Request request;
  request.devices = {host(), null()};
  Destination& a = request.destination("a", {8, 4}, bf16, host());
  Destination& b = request.destination("b", {8, 4}, f32, null()).group({4});
  request.add("head").to(b).cast(f32);
  request.add("embed").to(a);
  request.add("norm").split(0).group({2});
  request.add("l.0.*").skip();
  const rules::Pieces pieces = rules::pieces_of(on.checkpoint(), request);
  ASSERT_EQ(pieces.pieces.size(), 4u);
  EXPECT_EQ(pieces.of(0).size(), 1u);
  EXPECT_EQ(on.checkpoint().tensors()[pieces.of(0)[0].tensor].name, "embed");
  EXPECT_EQ(pieces.of(1)[0].dtype, f32);
  EXPECT_EQ(pieces.of(1)[0].group, Group{4});
  ASSERT_EQ(pieces.of(rules::Piece::itself).size(), 2u);
  EXPECT_EQ(pieces.of(rules::Piece::itself)[1].device, null());
  EXPECT_EQ(pieces.of(rules::Piece::itself)[1].from, part(0, 1, 2));
  EXPECT_EQ(pieces.skipped.size(), 9u);
  EXPECT_EQ(pieces.matched, 12u);
}

TEST(Pieces, AreToldInNumbers) {
  const std::vector<std::uint64_t> shape = {8, 4};
  EXPECT_EQ(rules::in_numbers(Slice(), shape), "");
  EXPECT_EQ(rules::in_numbers(take(0, 0), shape), "");
  EXPECT_EQ(rules::in_numbers(part(0, 1, 2), shape), "[4:8, :]");
  EXPECT_EQ(rules::in_numbers(take(1, 3), shape), "[:, 3]");
  EXPECT_EQ(rules::in_numbers(take(0, 3, 0), shape), "[3:3, :]");
  EXPECT_EQ(rules::in_numbers(as({2, 16}).at(0, 1), shape), "[1, :] as [2, 16]");
  EXPECT_EQ(rules::in_numbers(as({8, 4}).order({0, 1}), shape), "");
  EXPECT_EQ(rules::in_numbers(order({1, 0}), shape), " order (1, 0)");
}

TEST(Pieces, SpellNames) {
  EXPECT_EQ(rules::spelled("model.layers.0/w:1"), "model.layers.0/w:1");
  EXPECT_EQ(rules::spelled("a b"), "\"a b\"");
  EXPECT_EQ(rules::spelled("a*"), "\"a*\"");
  EXPECT_EQ(rules::spelled("\"\\\n\xC3\xA9"), "\"\\\"\\\\\\x0a\\xc3\\xa9\"");
  EXPECT_EQ(rules::spelled("tensor"), "\"tensor\"");
  EXPECT_EQ(rules::spelled("tensors"), "tensors");
}

}  // namespace
}  // namespace sluice
