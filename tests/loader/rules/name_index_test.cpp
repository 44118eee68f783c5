// Goal: the index finds names by their whole and by their beginning, also where there are none.
#include "loader/rules/name_index.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loader/support/rules_case.hpp"

namespace sluice {
namespace {

TEST(NameIndex, FindsNames) {
  const RulesCase on;
  const rules::NameIndex names(on.checkpoint());
  ASSERT_TRUE(names.find("l.1.q"));
  EXPECT_EQ(names.tensor(*names.find("l.1.q")).name, "l.1.q");
  EXPECT_FALSE(names.find("l.1"));
}

TEST(NameIndex, FindsWhatBeginsAlike) {
  const RulesCase on;
  const rules::NameIndex names(on.checkpoint());
  std::vector<std::string_view> found;
  for (const std::uint32_t number : names.beginning_with("l.1.e.1")) found.push_back(names.tensor(number).name);
  EXPECT_THAT(found, testing::ElementsAre("l.1.e.1.down", "l.1.e.1.up", "l.1.e.10.down", "l.1.e.10.up"));
  EXPECT_EQ(names.beginning_with("").size(), on.checkpoint().tensors().size());
  EXPECT_TRUE(names.beginning_with("l.2").empty());
  EXPECT_TRUE(names.beginning_with("zzz").empty());
}

TEST(NameIndex, NamesTheNearest) {
  const RulesCase on;
  const rules::NameIndex names(on.checkpoint());
  EXPECT_EQ(names.nearest("l.1.qq"), "l.1.q");
  EXPECT_EQ(names.nearest("heads"), "head");
  EXPECT_EQ(names.nearest("?"), "");
}

TEST(NameIndex, OfACheckpointWithoutTensors) {
  const RulesCase on(std::vector<TestTensor>{});
  const rules::NameIndex names(on.checkpoint());
  EXPECT_TRUE(names.beginning_with("").empty());
  EXPECT_EQ(names.nearest("a"), "");
}

}  // namespace
}  // namespace sluice
