// Goal: slices in rules files become the slices that C++ spells with take(), at(), part(), as() and order(); and what
// text() prints of a slice reads back as that slice.
#include "loader/rules/slice_text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "loader/rules/name_index.hpp"
#include "tests/loader/support/rules_case.hpp"

namespace sluice {
namespace {

class Slices : public testing::Test {
 protected:
  // The variable `n` is 6.
  Slice slice(const std::string& written) {
    const rules::RulesText text("f", written);
    rules::Cursor cursor(text);
    rules::Symbols symbols;
    const rules::SliceText parsed = rules::SliceText::parse(cursor, symbols);
    EXPECT_TRUE(cursor.at_end()) << written.substr(cursor.place());
    const rules::Symbol n = symbols.enter("n");
    const rules::NameIndex names(on_.checkpoint());
    rules::Budget budget;
    rules::Scope scope(text, symbols, names, budget);
    scope.bind(n, 6, rules::Scope::Giver::file);
    return parsed.slice(scope);
  }
  std::string refusal(const std::string& written) {
    const Error error = error_of([&] { slice(written); });
    return std::to_string(error.column()) + ": " + error.message();
  }

 private:
  RulesCase on_;
};

TEST_F(Slices, SayWhatTheCallsSay) {
  EXPECT_EQ(slice(""), Slice());
  EXPECT_EQ(slice("[:]"), Slice());
  EXPECT_EQ(slice("[2 : n]"), take(0, 2, 4));
  EXPECT_EQ(slice("[n :]"), take(0, 6));
  EXPECT_EQ(slice("[: n - 1]"), take(0, 0, 5));
  EXPECT_EQ(slice("[3:3]"), take(0, 3, 0));
  EXPECT_EQ(slice("[:, n % 4]"), at(1, 2));
  EXPECT_EQ(slice("[part 1 of n / 2, :, 0]"), part(0, 1, 3).at(2, 0));
  EXPECT_EQ(slice("[4:12][part 1 of 2]"), take(0, 4, 8).part(0, 1, 2));
  EXPECT_EQ(slice("as [n, 2] order (1, 0)"), as({6, 2}).order({1, 0}));
  EXPECT_EQ(slice("as [n, 2][1:2]"), as({6, 2}).take(0, 1, 1));
  EXPECT_EQ(slice("[1:2] as [n, 2]"), as({6, 2}).take(0, 1, 1)) << "brackets count the shape that is seen";
  EXPECT_EQ(slice("as []"), as({}));
}

TEST_F(Slices, ReadBackWhatIsPrinted) {
  for (const Slice& written :
       {Slice(), take(0, 512, 128), take(0, 512), take(1, 0, 7), at(2, 5), part(1, 1, 8).at(0, 3),
        take(0, 4, 8).part(0, 1, 2), as({8, 2, 96}).at(1, 0), as({2, 3}).take(0, 1, 1).order({1, 0}), as({}),
        as({1, 2, 3, 4, 5, 6}).take(5, 1, 4).order({5, 4, 3, 2, 1, 0})}) {
    EXPECT_EQ(text(slice(text(written))), text(written));
  }
}

TEST_F(Slices, AreRefusedWhereTheyGoWrong) {
  EXPECT_EQ(refusal("[n : 2]"), "6: the range 6:2 ends before it begins");
  EXPECT_EQ(refusal("[-1]"), "2: the index is -1, which is not from 0 to 9223372036854775807");
  EXPECT_EQ(refusal("[2 - n :]"), "2: the begin is -4, which is not from 0 to 9223372036854775807");
  EXPECT_EQ(refusal("order (n, 64)"), "11: a dimension is 64, which is not from 0 to 63");
  EXPECT_EQ(refusal("[0"), "3: found the end of the line where ',', ']', ':' or an operator is expected");
  EXPECT_EQ(refusal("[part 1]"), "8: found ']' where 'of' or an operator is expected");
  EXPECT_EQ(refusal("[0, ]"), "5: found ']' where a number, a name or '(' is expected");
  EXPECT_EQ(refusal("[]"), "2: found ']' where a number, a name or '(' is expected");
  EXPECT_EQ(refusal("as 3"), "4: found '3' where '[' and a shape is expected");
  EXPECT_EQ(refusal("as [1] as [2]"), "8: a second 'as'");
  EXPECT_EQ(refusal("[0] as [1] [0]"), "12: brackets on both sides of 'as'");
  std::string many = "[0";
  for (int i = 0; i < 64; ++i) many += ",0";
  EXPECT_EQ(refusal(many + "]"), "130: more than 64 dimensions");
}

}  // namespace
}  // namespace sluice
