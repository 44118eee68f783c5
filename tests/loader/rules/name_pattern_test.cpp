// Goal: patterns match the names that they mean, and capture the numbers in them.
#include "loader/rules/name_pattern.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "loader/rules/name_index.hpp"
#include "tests/loader/support/rules_case.hpp"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class Names : public testing::Test {
 protected:
  template <typename Action>
  auto with(const std::string& pattern, const Action& action) {
    const rules::RulesText text("f", pattern);
    rules::Cursor cursor(text);
    rules::Symbols symbols;
    const rules::NamePattern parsed = rules::NamePattern::parse(cursor, symbols, "a name");
    EXPECT_TRUE(cursor.at_end()) << pattern.substr(cursor.place());
    const rules::Symbol one = symbols.enter("one");
    const rules::NameIndex names(on_.checkpoint());
    rules::Budget budget;
    rules::Scope scope(text, symbols, names, budget);
    scope.bind(one, 1, rules::Scope::Giver::file);
    return action(parsed, scope);
  }

  // The numbers that a pattern captures of a name, or nothing where it does not match. The variable `one` is 1.
  std::optional<std::vector<std::int64_t>> captured(const std::string& pattern, const std::string& name) {
    const rules::NameMatcher matcher =
        with(pattern, [](const auto& its, const auto& scope) { return its.matcher(scope); });
    if (matcher.is_exact()) return matcher.head() == name ? std::optional(std::vector<std::int64_t>()) : std::nullopt;
    std::vector<std::int64_t> numbers;
    std::uint64_t tries = 0;
    if (!matcher.matches(name, numbers, tries)) return std::nullopt;
    return numbers;
  }
  bool matches(const std::string& pattern, const std::string& name) { return captured(pattern, name).has_value(); }
  std::string name_of(const std::string& pattern) {
    return with(pattern, [](const auto& its, const auto& scope) { return its.name(scope); });
  }
  std::string refusal(const std::string& pattern) {
    return error_of([&] { captured(pattern, ""); }).message();
  }

 private:
  RulesCase on_;
};

TEST_F(Names, AreLiteralWithValuesInBraces) {
  EXPECT_EQ(name_of("a.b-c/d:e+f@g$h%i~j_é"), "a.b-c/d:e+f@g$h%i~j_é");
  EXPECT_EQ(name_of("l.{one + 1}.x{one}"), "l.2.x1");
  EXPECT_EQ(name_of(R"("a \"b\" \\ {c} * \n\t\x41")"), "a \"b\" \\ {c} * \n\tA");
  EXPECT_TRUE(matches("l.{one}.q", "l.1.q"));
  EXPECT_FALSE(matches("l.{one}.q", "l.11.q"));
}

TEST_F(Names, CaptureNumbers) {
  EXPECT_THAT(*captured("l.{e}.q", "l.17.q"), ElementsAre(17));
  EXPECT_THAT(*captured("l.{e}.q.{f}", "l.0.q.007"), ElementsAre(0, 7));
  EXPECT_THAT(*captured("{e}", "5"), ElementsAre(5));
  EXPECT_FALSE(captured("l.{e}.q", "l..q"));
  EXPECT_FALSE(captured("l.{e}.q", "l.x.q"));
  EXPECT_FALSE(captured("l.{e}.q", "l.1.qq"));
  EXPECT_FALSE(captured("l.{e}.q", "l.-1.q"));
  EXPECT_FALSE(captured("l.{e}", "l.99999999999999999999")) << "no number that fits";
  EXPECT_FALSE(captured("l1{e}", "l12")) << "a capture takes whole numbers";
  EXPECT_FALSE(captured("{e}{f}", "12"));
}

TEST_F(Names, MatchAnythingWithStars) {
  EXPECT_TRUE(matches("*", ""));
  EXPECT_TRUE(matches("*", "a.b/c"));
  EXPECT_TRUE(matches("a*b*c", "abbc"));
  EXPECT_TRUE(matches("a*bc", "abcbc"));
  EXPECT_TRUE(matches("*aab", "aaaab"));
  EXPECT_TRUE(matches("a**b", "ab"));
  EXPECT_FALSE(matches("a*b", "abc"));
  EXPECT_FALSE(matches("a*a", "a"));
  EXPECT_THAT(*captured("*.{e}.w", "m.layers.3.x.4.w"), ElementsAre(4));
  EXPECT_THAT(*captured("*{e}.*", "m12.3.w"), ElementsAre(12));
  EXPECT_THAT(*captured("*.{e}.*", "m.1.b.2.c"), ElementsAre(1)) << "the first number that fits";
  EXPECT_THAT(*captured("*.{e}.{f}.*", "m.1.b.2.3.c"), ElementsAre(2, 3));
  EXPECT_FALSE(captured("*.{e}", "m.1.b"));
}

TEST_F(Names, AreRefusedWhereTheyMeanNothing) {
  EXPECT_EQ(refusal("l.{e}.{e}"), "'e' captures a second number in one name");
  EXPECT_EQ(refusal("l.{x + 1}"), "nothing gives 'x' a value; these have one: one");
  EXPECT_EQ(refusal("l.{"), "found the end of the line where a number, a name or '(' is expected");
  EXPECT_EQ(refusal("l.{one"), "found the end of the line where '}' or an operator is expected");
  EXPECT_EQ(refusal("\"\""), "the name is empty");
  EXPECT_EQ(refusal("\"a"), "the quote is not closed in its line");
  EXPECT_EQ(refusal("\"\\q\""), "a backslash in quotes means nothing here");
  EXPECT_EQ(refusal("\"\\x4\""), "a backslash in quotes means nothing here");
  EXPECT_EQ(refusal("\"\\"), "a backslash in quotes means nothing here");
  EXPECT_EQ(refusal("[0]"), "found '[' where a name is expected");
  EXPECT_THAT(error_of([&] { name_of(std::string(70'000, 'x') + "{one}"); }).message(),
              HasSubstr("more than 65536 bytes"));
}

TEST_F(Names, TakeStepsWhereTheyTakeTime) {
  const rules::NameMatcher matcher =
      with("*{a}.{b}.{c}x", [](const auto& its, const auto& scope) { return its.matcher(scope); });
  std::string name;
  for (int i = 0; i < 1000; ++i) name += "1.";
  std::vector<std::int64_t> numbers;
  std::uint64_t tries = 0;
  EXPECT_FALSE(matcher.matches(name, numbers, tries));
  EXPECT_GT(tries, 2000u);
  EXPECT_LT(tries, 20'000u);
}

}  // namespace
}  // namespace sluice
