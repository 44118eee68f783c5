// Goal: variables have the value of whoever takes precedence, until they are forgotten; budgets end.
#include "loader/rules/scope.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "loader/rules/name_index.hpp"
#include "sluice/limits.hpp"
#include "tests/loader/support/rules_case.hpp"

namespace sluice {
namespace {

using rules::Scope;

TEST(Scope, BindsUntilItForgets) {
  const RulesCase on;
  const rules::RulesText text("f", "x");
  rules::Symbols symbols;
  const rules::Symbol a = symbols.enter("a");
  const rules::Symbol b = symbols.enter("b");
  EXPECT_EQ(symbols.enter("a"), a);
  EXPECT_EQ(symbols.find("b"), b);
  EXPECT_FALSE(symbols.find("c"));
  const rules::NameIndex names(on.checkpoint());
  rules::Budget budget;
  Scope scope(text, symbols, names, budget);
  EXPECT_FALSE(scope.knows(a));
  scope.bind(a, 1, Scope::Giver::surroundings);
  const std::size_t mark = scope.mark();
  scope.bind(a, 2, Scope::Giver::file);
  scope.bind(b, 3, Scope::Giver::loop);
  EXPECT_EQ(scope.value_of(a), 2);
  EXPECT_EQ(scope.giver_of(a), Scope::Giver::file);
  EXPECT_EQ(scope.in_loops(), " (b = 3)");
  scope.forget(mark);
  EXPECT_EQ(scope.value_of(a), 1);
  EXPECT_EQ(scope.giver_of(a), Scope::Giver::surroundings);
  EXPECT_FALSE(scope.knows(b));
  EXPECT_EQ(scope.in_loops(), "");
}

TEST(Scope, ListsSomeOfTheNamesThatHaveValues) {
  const RulesCase on;
  const rules::RulesText text("f", "x");
  rules::Symbols symbols;
  const rules::Symbol unknown = symbols.enter("z");
  for (int i = 0; i < 30; ++i) symbols.enter("n" + std::to_string(10 + i));
  const rules::NameIndex names(on.checkpoint());
  rules::Budget budget;
  Scope scope(text, symbols, names, budget);
  for (rules::Symbol symbol = 1; symbol < symbols.size(); ++symbol) scope.bind(symbol, 0, Scope::Giver::file);
  const Error error = error_of([&] { scope.refuse_unknown(0, unknown); });
  EXPECT_THAT(error.message(), testing::HasSubstr("n10, n11, "));
  EXPECT_THAT(error.message(), testing::EndsWith("n33, ..."));
}

TEST(Budget, Ends) {
  const rules::RulesText text("f", "a\nb");
  rules::Budget budget;
  budget.spend_steps(limits::rules_steps_max, text, 2);
  const Error steps = error_of([&] { budget.spend_steps(1, text, 2); });
  EXPECT_EQ(steps.code(), ErrorCode::limit_exceeded);
  EXPECT_EQ(steps.line(), 2u);
  for (std::uint64_t i = 0; i < limits::rules_max; ++i) budget.spend_rule(text, 0);
  const Error rules = error_of([&] { budget.spend_rule(text, 0); });
  EXPECT_EQ(rules.code(), ErrorCode::limit_exceeded);
  EXPECT_THAT(rules.message(), testing::HasSubstr("rules_max"));
}

}  // namespace
}  // namespace sluice
