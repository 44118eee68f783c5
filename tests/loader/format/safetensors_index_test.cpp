// Goal: an index says which shards there are and where tensors should be; it can point nowhere outside its folder.
// Method: small indexes, right and wrong in one thing each.
#include "loader/format/safetensors_index.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <string>
#include <utility>

#include "tests/loader/support/shard_builder.hpp"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

SafetensorsIndex parse(const std::string& text) {
  auto json = std::make_unique<Json>();
  std::ranges::copy(text, json->room(text.size()));
  return parse_index(std::move(json), text.size(), "model.safetensors.index.json", [](const std::string&) {});
}

SafetensorsIndex with_map(const std::string& map) {
  return parse(R"({"metadata":{"total_size":1.5e99},"weight_map":{)" + map + "}}");
}

Error index_refusal(const std::string& text) {
  return error_of([&] { parse(text); });
}

TEST(SafetensorsIndex, NumbersItsFilesInOrderOfNames) {
  const SafetensorsIndex index = with_map(R"("a":"2.safetensors","b":"1.safetensors","c":"2.safetensors")");
  EXPECT_THAT(index.files, ElementsAre("1.safetensors", "2.safetensors"));
  ASSERT_EQ(index.entries.size(), 3u);
  EXPECT_EQ(index.entries[0].tensor, "a");
  EXPECT_EQ(index.entries[0].file, 1u);
  EXPECT_EQ(index.entries[1].file, 0u);
  EXPECT_EQ(index.entries[2].file, 1u);
}

TEST(SafetensorsIndex, CountsTwoSpellingsOfAFileAsOne) {
  const SafetensorsIndex index = with_map(
      R"("a":"x.safetensors","b":"./x.safetensors","c":"\u0078.safetensors","d":"s//y.safetensors","e":"s/./y.safetensors")");
  EXPECT_THAT(index.files, ElementsAre("s/y.safetensors", "x.safetensors"));
}

TEST(SafetensorsIndex, NamesNoFileOutsideItsFolder) {
  for (const char* file :
       {"/etc/passwd", "../x.safetensors", "a/../../x.safetensors", "a/..", "..", ".", "", "a/", "x\\u0000y"}) {
    const Error error = error_of([&] { with_map(std::string(R"("t":")") + file + R"(")"); });
    EXPECT_EQ(error.code(), ErrorCode::bad_index) << file;
    EXPECT_EQ(error.tensor(), "t") << file;
    EXPECT_THAT(error.what(), HasSubstr("no file inside its folder"));
  }
  EXPECT_NO_THROW(with_map(R"("t":"..a.safetensors")"));
}

TEST(SafetensorsIndex, IsKnownByItsName) {
  for (const char* name :
       {"model.safetensors.index.json", "model.safetensors.index.fp16.json", "a.b.safetensors.index.json",
        "x.safetensors.index.non_ema.json", ".safetensors.index.json"}) {
    EXPECT_TRUE(is_index_name(name)) << name;
  }
  for (const char* name :
       {"", "config.json", "model.safetensors", "model.safetensors.index", "pytorch_model.bin.index.json",
        "model.safetensors.index.json.metadata", "model.safetensors.indexjson", "model.safetensors.index2.json",
        "model.safetensors.index.a.b.json"}) {
    EXPECT_FALSE(is_index_name(name)) << name;
  }
}

TEST(SafetensorsIndex, TakesTheNumbersThatPythonWrites) {
  for (const char* number : {"Infinity", "-Infinity", "NaN", "[NaN, {\"a\": Infinity}]"}) {
    const std::string metadata = std::string(R"("metadata":{"total_size": )") + number + "}";
    const std::string map = R"("weight_map":{"a":"x.safetensors"})";
    EXPECT_EQ(parse("{" + metadata + "," + map + "}").entries.size(), 1u) << number;
    EXPECT_EQ(parse("{" + map + "," + metadata + "}").entries.size(), 1u) << number;
  }
  EXPECT_EQ(error_of([&] { with_map(R"("a":NaN)"); }).code(), ErrorCode::bad_index);
}

TEST(SafetensorsIndex, SaysWhatIsWrong) {
  const auto says = [](const Error& error, const char* text) {
    EXPECT_EQ(error.code(), ErrorCode::bad_index) << text;
    EXPECT_EQ(error.path(), "model.safetensors.index.json");
    EXPECT_THAT(error.what(), HasSubstr(text));
    EXPECT_NE(error.hint(), "") << text;
  };
  says(index_refusal(""), "not valid JSON");
  says(index_refusal("[]"), "not a JSON object");
  says(index_refusal("{}"), "no \"weight_map\"");
  says(index_refusal(R"({"weight_map":{}})"), "empty");
  says(index_refusal(R"({"weight_map":[]})"), "not an object");
  says(index_refusal(R"({"weight_map":{"a":1}})"), "names no file");
  says(index_refusal(R"({"weight_map":{"a":"b"},"weight_map":{}})"), "occurs twice");
  says(index_refusal(R"({"weight_map":{"a":"b"}} {})"), "something follows");
  says(index_refusal(R"({"metadata":{"total_size":tru},"weight_map":{"a":"b"}})"), "not valid JSON");
}

TEST(SafetensorsIndex, PointsAtTheTensor) {
  const Error error = index_refusal(R"({"weight_map":{"a":"b","c":"/d"}})");
  EXPECT_EQ(error.offset(), 23u);
  EXPECT_EQ(error.tensor(), "c");
}

}  // namespace
}  // namespace sluice
