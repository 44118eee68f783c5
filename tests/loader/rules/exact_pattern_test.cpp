// Goal: the pattern of a name matches that tensor and no other, whatever the name holds.
#include "loader/rules/exact_pattern.hpp"

#include <gtest/gtest.h>

#include <string>

#include "loader/plan/selection.hpp"
#include "tests/loader/support/catalogue_builder.hpp"

namespace sluice {
namespace {

TEST(ExactPattern, MatchesOneNameOnly) {
  const std::string names[] = {
      "a", "*", "a*", "a?", "[a]", "\\", "\\a", "ab", std::string("a\0*", 3), std::string("a\0b", 3)};
  CatalogueBuilder builder;
  for (const std::string& name : names) builder.bytes(name, 4);
  const auto catalogue = builder.build();
  for (const std::string& name : names) {
    Request request;
    request.add(rules::exact_pattern(name));
    Findings findings;
    const Selection selection = select(*catalogue, request, findings);
    EXPECT_TRUE(findings.empty()) << name;
    for (std::size_t i = 0; i < std::size(names); ++i) {
      EXPECT_EQ(selection.rule_of[i] == 0, names[i] == name) << name << " takes " << names[i];
    }
  }
}

}  // namespace
}  // namespace sluice
