// Goal: PTX falls into the words and symbols that the parser expects, each with its line; numbers have the values that
// the PTX ISA gives their spellings.
// Method: small texts, word by word.
#include "tests/sim/ptx/lexer.hpp"

#include <gtest/gtest.h>

#include <string_view>
#include <utility>

#include "tests/sim/ptx/error.hpp"

namespace sluice::sim::ptx {
namespace {

TEST(Lexer, KeepsWordsWholeAndCountsLines) {
  Lexer lexer("@!%p1 ld.global.L2::128B.u32 %r1,// and so on\n[%rd1+-8]; /* two\nlines */ $L__1: .file \"a b;\"");
  const std::pair<std::string_view, std::uint32_t> expected[] = {
      {"@", 1},       {"!", 1},     {"%p1", 1}, {"ld.global.L2::128B.u32", 1},
      {"%r1", 1},     {",", 1},     {"[", 2},   {"%rd1", 2},
      {"+", 2},       {"-", 2},     {"8", 2},   {"]", 2},
      {";", 2},       {"$L__1", 3}, {":", 3},   {".file", 3},
      {"\"a b;\"", 3}};
  for (const auto& [text, line] : expected) {
    const Token token = lexer.next();
    EXPECT_EQ(token.text, text);
    EXPECT_EQ(token.line, line) << text;
  }
  EXPECT_TRUE(lexer.peek().text.empty());
  EXPECT_THROW(lexer.next(), Error);
}

TEST(Lexer, ReadsNumbersInEverySpelling) {
  const std::pair<std::string_view, std::uint64_t> spelled[] = {
      {"0", 0},
      {"12", 12},
      {"-12", 0 - std::uint64_t{12}},
      {"0x1f", 31},
      {"0X1F", 31},
      {"-0x1", ~std::uint64_t{0}},
      {"017", 15},
      {"0b101", 5},
      {"0B11", 3},
      {"3U", 3},
      {"0x3U", 3},
      {"0f3F800000", 0x3f800000},
      {"0d3FF0000000000000", 0x3ff0000000000000},
      {"18446744073709551615", ~std::uint64_t{0}},
  };
  for (const auto& [text, value] : spelled) {
    Lexer lexer(text);
    EXPECT_TRUE(lexer.at_number()) << text;
    EXPECT_EQ(lexer.number(), value) << text;
  }
  for (const std::string_view text : {"18446744073709551616", "0x", "1.5", "09", "0b2", "U", "-", "%r1", "--1"}) {
    Lexer lexer(text);
    EXPECT_THROW(lexer.number(), Error) << text;
  }
}

TEST(Lexer, SkipsLinesAndCountsLists) {
  Lexer lexer(".loc 1 2 3, inlined_at 4\n{a, b, c}, {d}");
  lexer.skip_line();
  EXPECT_EQ(lexer.list_length(), 3);
  lexer.expect("{");
  EXPECT_TRUE(lexer.accept("a"));
  EXPECT_FALSE(lexer.accept("b"));
  EXPECT_EQ(lexer.peek_second(), "b");
  EXPECT_THROW(lexer.word(), Error);
}

}  // namespace
}  // namespace sluice::sim::ptx
