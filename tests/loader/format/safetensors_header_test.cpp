// Goal: a header becomes exactly the tensors it describes, and what is wrong in it is named with file, byte and tensor.
// Method: small headers, right and wrong in one thing each; our limits on both sides. Whether every verdict is the
// reference's is what tests/differential asks.
#include "loader/format/safetensors_header.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <limits>
#include <string>

#include "loader/base/limits.hpp"
#include "tests/loader/support/shard_builder.hpp"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

ShardHeader parse(HeaderParser& parser, const std::vector<std::byte>& shard, std::uint64_t file_bytes) {
  static const std::filesystem::path path = "a.safetensors";
  std::ranges::transform(shard, parser.room(shard.size()), [](std::byte byte) { return static_cast<char>(byte); });
  return parser.parse(parser.data_offset(file_bytes, path), file_bytes, path);
}

ShardHeader parse(const std::vector<std::byte>& shard) {
  HeaderParser parser;
  return parse(parser, shard, shard.size());
}

Error refusal(const std::vector<std::byte>& shard) {
  return error_of([&] { parse(shard); });
}

Error refusal(std::string_view header, std::size_t data_bytes = 4) {
  return refusal(shard_of(header, data_bytes));
}

TEST(SafetensorsHeader, GivesTensorsInOrderOfOffset) {
  const std::string text =
      R"({"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},"a":{"shape":[],"data_offsets":[0,4],"dtype":"F32"}})";
  const ShardHeader header = parse(shard_of(text, 16));
  ASSERT_EQ(header.tensors.size(), 2u);
  const TensorInfo& a = header.tensors[0];
  EXPECT_EQ(a.name, "a");
  EXPECT_EQ(a.dtype, Dtype::f32);
  EXPECT_TRUE(a.shape.empty());
  EXPECT_EQ(a.offset, 8 + text.size());
  EXPECT_EQ(a.bytes, 4u);
  const TensorInfo& b = header.tensors[1];
  EXPECT_EQ(b.name, "b");
  EXPECT_THAT(b.shape, ElementsAre(2, 3));
  EXPECT_EQ(b.offset, 8 + text.size() + 4);
  EXPECT_EQ(b.bytes, 12u);
}

TEST(SafetensorsHeader, UnescapesNames) {
  const ShardHeader header = parse(shard_of(R"({"\u0061\n\ud83d\ude00":["U8",[4],[0,4]]})", 4));
  EXPECT_EQ(header.tensors[0].name, "a\n\xF0\x9F\x98\x80");
}

TEST(SafetensorsHeader, KeepsMetadataInOrderOfNamesAndTheLastOfEach) {
  const ShardHeader header = parse(shard_of(R"({"__metadata__":{"z":"1","format":"pt","z":"2"}})"));
  EXPECT_THAT(header.metadata, ElementsAre(Pair("format", "pt"), Pair("z", "2")));
  EXPECT_TRUE(parse(shard_of(R"({"__metadata__":null})")).metadata.empty());
}

TEST(SafetensorsHeader, PutsEmptyTensorsAtAnyBoundary) {
  const ShardHeader header =
      parse(shard_of(R"({"last":["F32",[0],[4,4]],"all":["U8",[4],[0,4]],"first":["F64",[3,0],[0,0]]})", 4));
  EXPECT_THAT(std::vector<std::string_view>({header.tensors[0].name, header.tensors[1].name, header.tensors[2].name}),
              ElementsAre("first", "all", "last"));
}

TEST(SafetensorsHeader, NamesFileByteAndTensor) {
  const Error error = refusal(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})");
  EXPECT_EQ(error.code(), ErrorCode::bad_header);
  EXPECT_EQ(error.path(), "a.safetensors");
  EXPECT_EQ(error.offset(), 9u);
  EXPECT_EQ(error.tensor(), "x");
  EXPECT_THAT(error.what(), HasSubstr("hold 4 bytes, but dtype and shape need 8"));
}

TEST(SafetensorsHeader, SaysWhatIsWrong) {
  const auto says = [](const Error& error, const char* text) {
    EXPECT_EQ(error.code(), ErrorCode::bad_header) << text;
    EXPECT_NE(error.hint(), "") << text;
    EXPECT_THAT(error.what(), HasSubstr(text));
  };
  says(refusal(bytes_of("")), "the file is empty");
  says(refusal(bytes_of("1234567")), "no room for the header's length");
  says(refusal(bytes_of("\x10\0\0\0\0\0\0\0{}")), "no room");  // a C string: one byte
  says(refusal(R"([])"), "not a JSON object");
  says(refusal("\xEF\xBB\xBF{}"), "byte order mark");
  says(refusal(R"({"x":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}})"), "unknown dtype \"F33\"");
  says(refusal(R"({"x":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})"), "no whole number");
  says(refusal(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[-0,4]}})"), "no whole number");
  says(refusal(R"({"x":{"dtype":"F32","shape":[1]}})"), "has no \"data_offsets\"");
  says(refusal(R"({"x":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}})"), "\"shape\" occurs twice");
  says(refusal(R"({"x":["U8",[4],[4,0]]})"), "end before they begin");
  says(refusal(R"({"x":["U8",[3],[1,4]]})"), "behind where the one before it ends");
  says(refusal(R"({"x":["U8",[3],[0,3]],"y":["U8",[2],[2,4]]})"), "before where the one before it ends");
  says(refusal(R"({"x":["U8",[4],[0,4]],"x":["U8",[4],[0,4]]})"), "two tensors share a name");
  says(refusal(R"({"x":["F4",[3],[0,1]]})", 1), "do not fill whole bytes");
  says(refusal(R"({"x":["U8",[9223372036854775808,2,0],[0,0]]})", 0), "more than 2^64 bits");
  says(refusal(R"({"x":["U8",[8],[0,8]]})"), "extends past the end of the file");
  says(refusal(R"({"x":["U8",[2],[0,2]]})"), "2 bytes follow the last tensor");
  says(refusal(R"({"__metadata__":{"a":1}})", 0), "what is not a string");
  says(refusal(R"({"__metadata__":{},"__metadata__":{}})", 0), "occurs twice");
}

TEST(SafetensorsHeader, ReadsALengthAndBelievesNothing) {
  HeaderParser parser;
  const std::filesystem::path path = "a.safetensors";
  const auto with_length = [&](std::uint64_t length, std::uint64_t file_bytes) {
    std::memcpy(parser.room(8), &length, sizeof length);
    return parser.data_offset(file_bytes, path);
  };
  constexpr std::uint64_t max = limits::header_bytes_max;
  EXPECT_EQ(with_length(max, max + 8), max + 8);
  EXPECT_EQ(error_of([&] { with_length(max + 1, max + 9); }).code(), ErrorCode::bad_header);
  EXPECT_EQ(error_of([&] { with_length(max, max + 7); }).code(), ErrorCode::bad_header);
  EXPECT_EQ(error_of([&] { with_length(std::numeric_limits<std::uint64_t>::max(), 100); }).code(),
            ErrorCode::bad_header);
}

TEST(SafetensorsHeader, HoldsItsLimits) {
  const auto named = [](std::size_t bytes) { return shard_with({std::string(bytes, 'n')}); };
  EXPECT_NO_THROW(parse(named(limits::name_bytes_max)));
  const Error name = refusal(named(limits::name_bytes_max + 1));
  EXPECT_EQ(name.code(), ErrorCode::limit_exceeded);
  EXPECT_THAT(name.what(), HasSubstr("name_bytes_max"));

  const auto shaped = [](std::uint64_t dimensions) {
    std::string shape = "4";
    for (std::uint64_t i = 1; i < dimensions; ++i) shape += ",1";
    return shard_of(R"({"x":["U8",[)" + shape + R"(],[0,4]]})", 4);
  };
  EXPECT_NO_THROW(parse(shaped(limits::dimensions_max)));
  const Error dimensions = refusal(shaped(limits::dimensions_max + 1));
  EXPECT_EQ(dimensions.code(), ErrorCode::limit_exceeded);
  EXPECT_THAT(dimensions.what(), HasSubstr("dimensions_max"));
}

TEST(SafetensorsHeader, IsParsedByAReusedParserAsByAFreshOne) {
  HeaderParser parser;
  for (const std::size_t count : {3u, 2000u, 1u, 500u, 0u}) {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < count; ++i) names.push_back("layer." + std::to_string(i));
    const auto shard = shard_with(names);
    const ShardHeader header = parse(parser, shard, shard.size());
    ASSERT_EQ(header.tensors.size(), count);
    for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(header.tensors[i].name, names[i]);
    // A refusal between leaves nothing behind.
    EXPECT_THROW(parse(parser, shard_of("{\"x\":["), 14), Error);
  }
}

}  // namespace
}  // namespace sluice
