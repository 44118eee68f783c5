// Goal: values that are passed over are held to serde_json's rules, corner by corner; offsets in messages are right.
// Method: numbers at every edge of serde_json's arithmetic; small texts with one thing wrong. tests/differential drives
// the same rules against the reference itself.
#include "loader/format/json.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <string>

#include "tests/loader/support/shard_builder.hpp"

namespace sluice {
namespace {

/// Opens `text` and passes over all of it.
void read(Json& json, const std::string& text) {
  static const std::filesystem::path path = "file.json";
  std::ranges::copy(text, json.room(text.size()));
  for (auto result : json.open(0, text.size(), ErrorCode::bad_index, path)) {
    auto field = json.take(std::move(result));
    json.take(field.unescaped_key());
    json.pass_over(field.value(), 1);
  }
  json.close();
}

bool is_valid(const std::string& text) {
  Json json;
  return error_of([&] { read(json, text); }).code() == ErrorCode{};
}

TEST(Json, TakesTheNumbersThatSerdeTakes) {
  const std::string nines(308, '9');
  for (const std::string& number : {std::string("0"), std::string("-0"), std::string("1e308"), nines, nines + ".5",
                                    nines + "e0", std::string("0e99999999999"), std::string("1e-99999999999"),
                                    std::string("18446744073709551616"), "0." + nines, std::string("-1.5E+7")}) {
    EXPECT_TRUE(is_serde_number(number)) << number;
  }
  for (const std::string& number :
       {std::string(""), std::string("-"), std::string("01"), std::string("1."), std::string(".1"), std::string("1e"),
        std::string("+1"), std::string("1e309"), "99" + nines, std::string("1e99999999999"), std::string("0x1"),
        std::string("1 ")}) {
    EXPECT_FALSE(is_serde_number(number)) << number;
  }
}

TEST(Json, LooksIntoValuesThatNobodyAskedFor) {
  EXPECT_TRUE(is_valid(R"({"a": [1, {"b": "\u00e9", "c": [true, false, null]}, -2.5e3]})"));
  for (const char* text :
       {R"({"a": tru})", R"({"a": [1,]})", R"({"a": {"b" 1}})", R"({"a": "\ud800"})", R"({"a": 01})", R"({"a": [1 2]})",
        R"({"\ud800": 1})", R"({"a": 1} x)", R"({"a": 1)", R"({"a"})", R"([])", ""}) {
    EXPECT_FALSE(is_valid(text)) << text;
  }
}

TEST(Json, BoundsNestingAsTheReferenceDoes) {
  const auto nested = [](std::size_t depth) {
    return R"({"a":)" + std::string(depth, '[') + std::string(depth, ']') + "}";
  };
  EXPECT_TRUE(is_valid(nested(126)));
  EXPECT_FALSE(is_valid(nested(127)));
  EXPECT_FALSE(is_valid(nested(100'000)));
}

TEST(Json, RefusesAByteOrderMark) {
  EXPECT_FALSE(is_valid("\xEF\xBB\xBF{}"));
}

TEST(Json, SeesNothingBehindTheEnd) {
  Json json;
  const std::filesystem::path path = "file.json";
  const std::string text = R"({"a":{"b":{})";
  std::ranges::fill_n(json.room(1000), 1000, '}');
  std::ranges::copy(text, json.room(1000));
  EXPECT_EQ(error_of([&] {
              for (auto result : json.open(0, text.size(), ErrorCode::bad_index, path)) {
                auto field = json.take(std::move(result));
                json.take(field.unescaped_key());
                json.pass_over(field.value(), 1);
              }
              json.close();
            }).code(),
            ErrorCode::bad_index);
}

TEST(Json, PointsAtThePlace) {
  Json json;
  const Error error = error_of([&] { read(json, R"({"abc": 1, "d": truth})"); });
  EXPECT_EQ(error.code(), ErrorCode::bad_index);
  EXPECT_EQ(error.path(), "file.json");
  EXPECT_EQ(error.offset(), 16u);
}

TEST(Json, IsReusedFromFileToFile) {
  Json json;
  for (const std::size_t size : {10u, 100'000u, 20u, 1'000'000u}) {
    EXPECT_NO_THROW(read(json, R"({"a":")" + std::string(size, 'x') + R"("})"));
  }
}

}  // namespace
}  // namespace sluice
