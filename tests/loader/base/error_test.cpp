// Goal: what an Error says is one line that a person can act on, whatever a hostile file put into it.
// Method: build errors of every code and with every kind of character, and read what().
#include "sluice/error.hpp"

#include <gmock/gmock.h>

#include <set>
#include <string>

namespace sluice {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr int codes = 16;

TEST(Error, SaysWhatWhereAndWhatToDo) {
  const Error error(ErrorCode::bad_header, "tensor extends past the end of the file", {"/m/a.safetensors", 120, "x"},
                    "download the shard again");
  EXPECT_STREQ(
      error.what(),
      "bad header: tensor extends past the end of the file: /m/a.safetensors, byte 120, tensor \"x\"; download "
      "the shard again");
  EXPECT_EQ(error.code(), ErrorCode::bad_header);
  EXPECT_EQ(error.message(), "tensor extends past the end of the file");
  EXPECT_EQ(error.path(), "/m/a.safetensors");
  EXPECT_EQ(error.offset(), 120u);
  EXPECT_EQ(error.tensor(), "x");
  EXPECT_EQ(error.hint(), "download the shard again");
}

TEST(Error, LeavesOutWhatIsNotKnown) {
  EXPECT_STREQ(Error(ErrorCode::cancelled, "the load was cancelled").what(), "cancelled: the load was cancelled");
  EXPECT_STREQ(Error(ErrorCode::io, "m", {"", {}, "t"}).what(), "io: m: tensor \"t\"");
  EXPECT_STREQ(Error(ErrorCode::io, "m", {"p", 0, ""}).what(), "io: m: p, byte 0");
  EXPECT_EQ(Error(ErrorCode::io, "m", {"p", 0, ""}).line(), 0u);
}

TEST(Error, NamesLinesOfTextsThatPeopleWrite) {
  const Error error(ErrorCode::bad_rules, "m", {"/m/a.rules", {}, "t", 12, 3}, "h");
  EXPECT_STREQ(error.what(), "bad rules: m: /m/a.rules:12:3, tensor \"t\"; h");
  EXPECT_EQ(error.line(), 12u);
  EXPECT_EQ(error.column(), 3u);
}

TEST(Error, HasANameForEveryCode) {
  std::set<std::string_view> names;
  for (int code = 1; code <= codes; ++code) {
    const std::string_view text = name(static_cast<ErrorCode>(code));
    EXPECT_NE(text, "unknown") << code;
    EXPECT_TRUE(names.insert(text).second) << text;
    const Error error(static_cast<ErrorCode>(code), "something");
    EXPECT_THAT(error.what(), EndsWith(": something"));
    EXPECT_THAT(error.what(), ::testing::Not(HasSubstr("_")));
  }
  EXPECT_EQ(name(static_cast<ErrorCode>(codes + 1)), "unknown");
}

TEST(Error, StaysOnOneLineAndDrivesNoTerminal) {
  const Error error(ErrorCode::bad_header, "a\nb\r\tc",
                    {"/m/\x1B[2J.safetensors", {}, "\x07 \x7F \xC2\x9B \xE2\x80\xA8"}, "\n");
  EXPECT_STREQ(
      error.what(),
      "bad header: a\\nb\\r\\tc: /m/\\x1b[2J.safetensors, tensor \"\\x07 \\x7f \\xc2\\x9b \\xe2\\x80\\xa8\"; \\n");
}

TEST(Error, ShowsTextOfAllLanguagesAndEscapesWhatIsNotUtf8) {
  EXPECT_THAT(Error(ErrorCode::io, "é 模型 😀").what(), HasSubstr("é 模型 😀"));
  for (const char* broken : {"\xFF", "\xC3", "\xE2\x82", "\xC0\xAF", "\xED\xA0\x80", "\xF5\x80\x80\x80", "\x80"}) {
    EXPECT_THAT(Error(ErrorCode::io, broken).what(), StartsWith("io: \\x"));
  }
  // Text that would be shown from right to left could hide what a path ends in.
  EXPECT_THAT(Error(ErrorCode::io, "\u202E").what(), HasSubstr("\\xe2\\x80\\xae"));
}

TEST(Error, QuotesTensorNamesSoThatTheirEndIsClear) {
  EXPECT_THAT(Error(ErrorCode::io, "m", {"p", {}, "a\"b\\"}).what(), EndsWith("tensor \"a\\\"b\\\\\""));
}

TEST(Error, ShortensEndlessTensorNames) {
  const std::string what = Error(ErrorCode::io, "m", {"p", {}, std::string(60'000, 'n')}).what();
  EXPECT_LT(what.size(), 400u);
  EXPECT_THAT(what, HasSubstr("60000 bytes long"));
}

TEST(Error, IsAValue) {
  Error error(ErrorCode::io, "first", {"p", 1, "t"}, "h");
  const Error copy = error;
  error = Error(ErrorCode::system, "second");
  EXPECT_EQ(error.code(), ErrorCode::system);
  EXPECT_STREQ(copy.what(), "io: first: p, byte 1, tensor \"t\"; h");
}

}  // namespace
}  // namespace sluice
