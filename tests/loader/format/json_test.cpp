// Goal: values that are passed over are held to serde_json's rules, or to Python's where Python writes them; offsets in
// messages are right. Method: numbers around the largest that there is; small texts with one thing wrong.
// tests/differential drives the same rules against the reference itself.
#include "loader/format/json.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <string>

#include "tests/loader/support/shard_builder.hpp"

namespace sluice {
namespace {

constexpr Json::Kind strict{ErrorCode::bad_index, "download it again"};
constexpr Json::Kind of_python{ErrorCode::bad_index, "download it again", true};

// Opens `text` and passes over all of it.
void read(Json& json, const std::string& text, const Json::Kind& kind = strict) {
  static const std::filesystem::path path = "file.json";
  std::ranges::copy(text, json.room(text.size()));
  for (auto result : json.open(0, text.size(), kind, path)) {
    auto field = json.take(std::move(result));
    json.take(field.unescaped_key());
    json.pass_over(field.value(), 1);
  }
  json.close();
}

bool is_valid(const std::string& text, const Json::Kind& kind = strict) {
  Json json;
  return error_of([&] { read(json, text, kind); }).code() == ErrorCode{};
}

TEST(Json, TakesNumbersThatAreFinite) {
  const std::string nines(308, '9');
  for (const std::string& number :
       {std::string("0"), std::string("-0"), std::string("1e308"), std::string("1.7976931348623157e308"), nines,
        nines + ".5", nines + "e0", std::string("0e99999999999"), std::string("1e-99999999999"),
        std::string("18446744073709551616"), "0." + nines, std::string("-1.5E+7")}) {
    EXPECT_TRUE(is_valid(R"({"a":)" + number + "}")) << number;
    EXPECT_TRUE(is_valid(R"({"a":[1,)" + number + " ]}", of_python)) << number;
  }
  for (const std::string& number :
       {std::string(""), std::string("-"), std::string("01"), std::string("1."), std::string(".1"), std::string("1e"),
        std::string("+1"), std::string("1e309"), std::string("-1e309"), std::string("1.7976931348623159e308"),
        "99" + nines, std::string("1e99999999999"), std::string("0x1"), std::string("1 1")}) {
    EXPECT_FALSE(is_valid(R"({"a":)" + number + "}")) << number;
    EXPECT_FALSE(is_valid(R"({"a":[1,)" + number + " ]}", of_python)) << number;
  }
}

TEST(Json, TakesPythonsConstantsWhereItIsTold) {
  for (const char* text :
       {R"({"a":NaN})", R"({"a": Infinity ,"b":1})", R"({"a":[-Infinity, NaN],"b":{"c":Infinity}})"}) {
    EXPECT_TRUE(is_valid(text, of_python)) << text;
    EXPECT_FALSE(is_valid(text)) << text;
  }
  for (const char* text : {R"({"a":nan})", R"({"a":-NaN})", R"({"a":+Infinity})", R"({"a":Infinity1})",
                           R"({"a":NaN NaN})", R"({"a":[NaN)", R"({NaN:1})", "NaN"}) {
    EXPECT_FALSE(is_valid(text, of_python)) << text;
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
              for (auto result : json.open(0, text.size(), strict, path)) {
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
  EXPECT_EQ(error.hint(), "download it again");
}

TEST(Json, IsReusedFromFileToFile) {
  Json json;
  for (const std::size_t size : {10u, 100'000u, 20u, 1'000'000u}) {
    EXPECT_NO_THROW(read(json, R"({"a":")" + std::string(size, 'x') + R"("})"));
  }
}

}  // namespace
}  // namespace sluice
