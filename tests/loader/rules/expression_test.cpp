// Goal: expressions mean what their readers think, and nothing that a file writes makes them overflow or run for ever.
// Method: works them out as the group of a rule.
#include "loader/rules/expression.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "loader/rules/name_index.hpp"
#include "tests/loader/support/rules_case.hpp"

namespace sluice {
namespace {

using testing::HasSubstr;

class Expressions : public testing::Test {
 protected:
  std::int64_t value(const std::string& written) { return value_of(written).first; }
  // What is left of the line behind it.
  std::string rest(const std::string& written) { return value_of(written).second; }

  std::string refusal(const std::string& written) {
    const Error error = error_of([&] { value_of(written); });
    return std::to_string(error.column()) + ": " + error.message();
  }

 private:
  std::pair<std::int64_t, std::string> value_of(const std::string& written) {
    const rules::RulesText text("f", written);
    rules::Cursor cursor(text);
    rules::Symbols symbols;
    const auto a = symbols.enter("a");
    const auto b = symbols.enter("b");
    const rules::Expression expression = rules::Expression::parse(cursor, symbols);
    const rules::NameIndex names(on_.checkpoint());
    rules::Budget budget;
    rules::Scope scope(text, symbols, names, budget);
    scope.bind(a, 7, rules::Scope::Giver::file);
    scope.bind(b, -2, rules::Scope::Giver::loop);
    return {expression.value(scope), written.substr(cursor.place())};
  }

  RulesCase on_;
};

TEST_F(Expressions, BindAsInArithmetic) {
  EXPECT_EQ(value("1 + 2 * 3"), 7);
  EXPECT_EQ(value("(1 + 2) * 3"), 9);
  EXPECT_EQ(value("10 - 4 - 3"), 3);
  EXPECT_EQ(value("100 / 10 / 5"), 2);
  EXPECT_EQ(value("2 * 7 % 4"), 2);
  EXPECT_EQ(value("--a"), 7);
  EXPECT_EQ(value("-a * b"), 14);
  EXPECT_EQ(value("a/2"), 3);
  EXPECT_EQ(value("1 + a == 8 and 2 < 3 or 1 / 0"), 1) << "what does not decide is not worked out";
  EXPECT_EQ(value("not a == 7 or b != -2"), 0);
  EXPECT_EQ(value("not not 5"), 1);
  EXPECT_EQ(value("0 and 1 / 0"), 0);
  EXPECT_EQ(value("3 or 0"), 1);
  EXPECT_EQ(value("1 and 0 or 1 and 1"), 1);
  EXPECT_EQ(value("(1 <= 1) + (2 >= 3) + (2 > 1) + (1 < 1)"), 2);
}

TEST_F(Expressions, DivideAsPythonDoes) {
  EXPECT_EQ(value("7 / b"), -4);
  EXPECT_EQ(value("-7 / b"), 3);
  EXPECT_EQ(value("7 % b"), -1);
  EXPECT_EQ(value("-7 % 4"), 1);
  EXPECT_EQ(value("-8 % 4"), 0);
  EXPECT_EQ(value("a / -1"), -7);
  EXPECT_EQ(value("a % -1"), 0);
}

TEST_F(Expressions, HaveFunctions) {
  EXPECT_EQ(value("min(a, 3) + max(1, b) * 10"), 13);
  EXPECT_EQ(value("default(a, 1 / 0)"), 7);
  EXPECT_EQ(value("default(c, a + 1) * 2"), 16);
  EXPECT_EQ(value("default(c, default(d, 3))"), 3);
  EXPECT_EQ(value("has(norm) + has(l.{a - 7}.q) * 2 + has(\"l.0.k\") * 4 + has(no.{x}) + has(*.down) * 8"), 15);
  EXPECT_EQ(value("has(l.{x}.q)"), 1);
}

TEST_F(Expressions, EndWhereTheyCannotGoOn) {
  EXPECT_EQ(rest("a + 1 -> x"), "-> x");
  EXPECT_EQ(rest("a cast F32"), "cast F32");
  EXPECT_EQ(rest("a - 1, b"), ", b");
  EXPECT_EQ(rest("a .. b"), ".. b");
  EXPECT_EQ(rest("a # more"), "# more");
  EXPECT_EQ(rest("a order"), "order");
}

TEST_F(Expressions, AreRefusedWhereTheyGoWrong) {
  EXPECT_EQ(refusal("1 + c"), "5: nothing gives 'c' a value; these have one: a, b (b = -2)");
  EXPECT_EQ(refusal("a / (b + 2)"), "3: 7 is divided by 0 (b = -2)");
  EXPECT_EQ(refusal("a % 0"), "3: 7 is divided by 0 (b = -2)");
  EXPECT_EQ(refusal("9223372036854775807 + 1"),
            "21: the result for 9223372036854775807 and 1 has more than 64 bits (b = -2)");
  EXPECT_THAT(refusal("-9223372036854775807 - 2"), HasSubstr("more than 64 bits"));
  EXPECT_THAT(refusal("9223372036854775807 * a"), HasSubstr("more than 64 bits"));
  EXPECT_THAT(refusal("-(-9223372036854775807 - 1)"), HasSubstr("more than 64 bits"));
  EXPECT_THAT(refusal("(-9223372036854775807 - 1) / -1"), HasSubstr("more than 64 bits"));
  EXPECT_EQ(value("(-9223372036854775807 - 1) % -1"), 0);
  EXPECT_EQ(refusal("9223372036854775808"),
            "1: 9223372036854775808 is larger than 9223372036854775807, the largest number");
  EXPECT_EQ(refusal("1 +"), "4: found the end of the line where a number, a name or '(' is expected");
  EXPECT_EQ(refusal("(1"), "3: found the end of the line where ')' or an operator is expected");
  EXPECT_EQ(refusal("12ab"), "1: '12ab' is neither a number nor a name");
  EXPECT_EQ(refusal("1 < 2 < 3"), "7: a second comparison follows the first");
  EXPECT_EQ(refusal("group + 1"), "1: found 'group' where a number, a name or '(' is expected");
  EXPECT_EQ(refusal("min(1)"), "6: found ')' where ',' and a second number is expected");
  EXPECT_EQ(refusal("é"), "1: found 'é' where a number, a name or '(' is expected");
  EXPECT_EQ(refusal("->"), "1: found '->' where a number, a name or '(' is expected");
}

TEST_F(Expressions, MayBeLongButNotDeep) {
  std::string sum = "0";
  for (int i = 0; i < 100000; ++i) sum += " + 1";
  EXPECT_EQ(value(sum), 100000);
  for (const std::string each : {"(", "-", "not ", "min(1, ", "default(c, ", "has({", "1 + (2 * ("}) {
    std::string deep;
    for (int i = 0; i < 100000; ++i) deep += each;
    EXPECT_THAT(refusal(deep), HasSubstr("rules_depth_max")) << each;
  }
  EXPECT_EQ(value(std::string(60, '(') + "5" + std::string(60, ')')), 5);
  std::string held;
  for (int i = 0; i < 63; ++i) held += "1 or 1 and 1 == 1 + 1 * (";
  EXPECT_THAT(refusal(held), testing::AnyOf(HasSubstr("too many operands"), HasSubstr("expected")));
}

}  // namespace
}  // namespace sluice
