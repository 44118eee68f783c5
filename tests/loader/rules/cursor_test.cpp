// Goal: the cursor sees lines and tokens as editors show them, and knows where each stands.
#include "loader/rules/cursor.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sluice {
namespace {

std::vector<std::string> words_of(const std::string& written) {
  const rules::RulesText text("f", written);
  rules::Cursor cursor(text);
  std::vector<std::string> words;
  while (cursor.next_line()) {
    while (!cursor.at_end()) words.emplace_back(cursor.expect_word("a word"));
    words.emplace_back("|");
  }
  return words;
}

TEST(Cursor, PassesOverBlanksAndComments) {
  using Words = std::vector<std::string>;
  EXPECT_EQ(words_of(""), Words());
  EXPECT_EQ(words_of("\n \t\r\n# all of it\n"), Words());
  EXPECT_EQ(words_of("a b# c\n\n  d"), (Words{"a", "b", "|", "d", "|"}));
  EXPECT_EQ(words_of("a\r\nb\r\n"), (Words{"a", "|", "b", "|"})) << "lines as Windows ends them";
  EXPECT_EQ(words_of("\xEF\xBB\xBF"
                     "a"),
            (Words{"a", "|"}))
      << "a byte order mark";
}

TEST(Cursor, CountsCharactersInColumns) {
  const std::string written = "a\n\té  x";
  const rules::RulesText text("f", written);
  const Error::Where where = text.where(static_cast<rules::Place>(written.find('x')));
  EXPECT_EQ(where.line, 2u);
  EXPECT_EQ(where.column, 5u);
  EXPECT_EQ(text.where(0).line, 1u);
  EXPECT_EQ(text.where(0).column, 1u);
}

TEST(Cursor, TakesKeywordsThatStandAlone) {
  const std::string written = "end end.x";
  const rules::RulesText text("f", written);
  rules::Cursor cursor(text);
  EXPECT_FALSE(cursor.take_keyword("en"));
  EXPECT_TRUE(cursor.take_keyword("end"));
  EXPECT_FALSE(cursor.take_keyword("end"));
  EXPECT_EQ(cursor.place(), 4u);
  EXPECT_EQ(cursor.bare(), "end.x");
}

TEST(Cursor, EndsBareNamesAtArrows) {
  const std::string written = "a-b->c";
  const rules::RulesText text("f", written);
  rules::Cursor cursor(text);
  EXPECT_EQ(cursor.bare(), "a-b");
  EXPECT_TRUE(cursor.take("->"));
  EXPECT_EQ(cursor.bare(), "c");
}

}  // namespace
}  // namespace sluice
