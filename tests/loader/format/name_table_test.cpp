// Goal: every name leads to its tensor and no other name does; the second of two that are alike is told.
// Method: many names beside a std::map, long and short ones, and hashes made to collide.
#include "loader/format/name_table.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <string>
#include <vector>

namespace sluice {
namespace {

std::vector<TensorInfo> tensors_named(const std::vector<std::string>& names) {
  std::vector<TensorInfo> tensors(names.size());
  for (std::size_t i = 0; i < names.size(); ++i) tensors[i].name = names[i];
  return tensors;
}

TEST(NameTable, FindsNothingBeforeAnythingIsEntered) {
  NameTable table;
  EXPECT_FALSE(table.find({}, "x"));
  table.prefetch(NameTable::hash("x"));
  EXPECT_FALSE(table.enter({}));
  EXPECT_FALSE(table.find({}, ""));
}

RC_GTEST_PROP(NameTable, FindsWhatAMapFinds, ()) {
  const auto names = *rc::gen::container<std::vector<std::string>>(
      rc::gen::container<std::string>(rc::gen::element('a', 'b', '\0', '\xFF')));
  const std::vector<TensorInfo> tensors = tensors_named(names);
  std::map<std::string, std::uint32_t> first;
  std::optional<std::uint32_t> twice;
  for (std::uint32_t i = 0; i < names.size() && !twice; ++i) {
    if (!first.try_emplace(names[i], i).second) twice = i;
  }
  NameTable table;
  RC_ASSERT(table.enter(tensors) == twice);
  for (const auto& [name, number] : first) RC_ASSERT(table.find(tensors, name) == number);
  const auto other = *rc::gen::container<std::string>(rc::gen::element('a', 'b', '\0', '\xFF'));
  if (!first.contains(other)) RC_ASSERT(!table.find(tensors, other));
}

TEST(NameTable, TellsNamesApartByEveryByte) {
  // Around the 8 and 16 bytes that are hashed in one go.
  for (std::size_t length = 1; length < 70; ++length) {
    const std::string name(length, 'x');
    std::vector<std::string> names = {name};
    for (std::size_t at = 0; at < length; ++at) names.emplace_back(name).at(at) = 'y';
    names.emplace_back(length, '\0');
    std::map<std::uint64_t, std::string> hashes;
    for (const std::string& each : names) {
      EXPECT_TRUE(hashes.try_emplace(NameTable::hash(each), each).second) << each;
      EXPECT_EQ(NameTable::hash(each), NameTable::hash(std::string(each)));
    }
  }
}

TEST(NameTable, KeepsNamesApartWhoseHashesAreAlike) {
  const std::vector<std::string> names = {"a", "b", "c", "d"};
  const std::vector<TensorInfo> tensors = tensors_named(names);
  // All belong into the last slot: those that come later go around to the first.
  const std::vector<std::uint64_t> hashes(names.size(), ~std::uint64_t{0});
  NameTable table;
  EXPECT_FALSE(table.enter(tensors, hashes));
  for (std::uint32_t i = 0; i < names.size(); ++i) EXPECT_EQ(table.find(tensors, names[i], hashes[i]), i);
  EXPECT_FALSE(table.find(tensors, "e", hashes[0]));
}

TEST(NameTable, ForgetsWhatWasEnteredBefore) {
  const std::vector<std::string> names = {"a", "b", "a"};
  const std::vector<TensorInfo> tensors = tensors_named(names);
  NameTable table;
  EXPECT_EQ(table.enter(tensors), 2u);
  const std::span<const TensorInfo> one(&tensors[1], 1);
  EXPECT_FALSE(table.enter(one));
  EXPECT_FALSE(table.find(one, "a"));
  EXPECT_EQ(table.find(one, "b"), 0u);
}

}  // namespace
}  // namespace sluice
