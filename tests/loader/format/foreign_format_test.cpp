// Goal: people who hand in another format are told which it is and what to do; safetensors is never taken for one.
// Method: the first bytes of each format, as its writers write them, and the names it goes by.
#include "loader/format/foreign_format.hpp"

#include <gmock/gmock.h>

#include <cstdint>
#include <cstring>
#include <string>

namespace sluice {
namespace {

using ::testing::HasSubstr;
using namespace std::string_literals;

std::string what(const std::string& head, const std::string& tail = "") {
  const auto format = foreign_format_of_content(head, tail);
  return format ? std::string(format->what) : "";
}

TEST(ForeignFormat, KnowsPicklesOfAllProtocols) {
  for (const std::string& head : {"\x80\x02}q\0X"s, "\x80\x03}q\0X"s, "\x80\x04\x95\x10\0\0\0\0\0\0\0}"s,
                                  "\x80\x05\x95\x10\0\0\0"s, "\x80\x02\x8A\x0Al\xFC\x9C\x46\xF9 j\xA8P\x19."s,
                                  "(dp0\nS'a'\n"s, "ccopy_reg\n_recon\n"s, "cos\nsystem\n(S'echo'\ntR."s}) {
    EXPECT_THAT(what(head), HasSubstr("pickle")) << head;
  }
}

TEST(ForeignFormat, TellsPyTorchsZipFromOthers) {
  const std::string zip = "PK\x03\x04"s + std::string(26, '\0');
  EXPECT_THAT(what(zip + "archive/data.pkl"), HasSubstr("PyTorch"));
  EXPECT_THAT(what(zip + "weights/0", "PK\x01\x02 archive/data.pkl PK\x05\x06"), HasSubstr("PyTorch"));
  EXPECT_THAT(what(zip + "arr_0.npy"), HasSubstr("NumPy"));
  EXPECT_EQ(what(zip + "readme.txt"), "a zip archive");
}

TEST(ForeignFormat, KnowsOtherFormatsOfWeights) {
  EXPECT_THAT(what("GGUF\x03\0\0\0"s), HasSubstr("GGUF"));
  EXPECT_THAT(what("\x08\x07\x12\x07pytorch"s), HasSubstr("ONNX"));
  EXPECT_THAT(what("\x89HDF\r\n\x1A\n"s), HasSubstr("HDF5"));
  EXPECT_THAT(what("\x93NUMPY\x01\0"s), HasSubstr("NumPy"));
}

TEST(ForeignFormat, KnowsWhatFailedDownloadsLeaveBehind) {
  EXPECT_THAT(what("version https://git-lfs.github.com/spec/v1\noid sha256:00\n"), HasSubstr("Git LFS"));
  EXPECT_THAT(what("\n<!DOCTYPE html><html>"), HasSubstr("web page"));
  EXPECT_THAT(what("{\"error\": \"Repository not found\"}"), HasSubstr("JSON"));
}

TEST(ForeignFormat, KnowsSpaceThatADownloadHasReserved) {
  EXPECT_THAT(what(std::string(65'536, '\0')), HasSubstr("zeros"));
  EXPECT_THAT(what("\0"s), HasSubstr("zeros"));
}

// The beginning of a shard whose header has so many bytes, and begins as `header`.
std::string shard_head(std::uint64_t header_bytes, const std::string& header) {
  std::string head(sizeof header_bytes, '\0');
  std::memcpy(head.data(), &header_bytes, sizeof header_bytes);
  return head + header;
}

TEST(ForeignFormat, TakesNoHeaderOfSafetensorsForAnotherFormat) {
  // Lengths that spell a pickle of each protocol, an ONNX model, gzip, old pickles and JSON.
  for (const std::uint64_t bytes : {0x010280, 0x580280, 0x7D0380, 0x950480, 0x020580, 0x120508, 0x1A0708, 0x088B1F,
                                    0x706428, 0x706C28, 0x00715D, 0x00227B, 0x3D227B, 0x00007B, 100'000'000}) {
    EXPECT_EQ(what(shard_head(bytes, R"({"a":{"dtype":"F32")")), "") << bytes;
    EXPECT_FALSE(begins_as_json(shard_head(bytes, R"({"a":)"))) << bytes;
  }
  // What else a name may say of them.
  EXPECT_FALSE(foreign_format_of(shard_head(0x010280, "{"), {}, "pytorch_model.bin"));
  // Damaged from the first byte of the header on.
  EXPECT_EQ(what(shard_head(0x010280, std::string(100, '\0'))), "");
  EXPECT_EQ(what(shard_head(0x120508, std::string(100, '\0'))), "");
  EXPECT_EQ(what(shard_head(0x020580, "#")), "");
  EXPECT_EQ(what(""), "");
}

TEST(ForeignFormat, KnowsFormatsThatHoldABraceWhereAHeaderBegins) {
  EXPECT_THAT(what("\x80\x02}q\0X\x01\0{"s), HasSubstr("pickle"));
  EXPECT_THAT(what("GGUF\x03\0\0\0{"s), HasSubstr("GGUF"));
}

TEST(ForeignFormat, GoesByNameWhereContentTellsNothing) {
  for (const char* name : {"pytorch_model.bin", "model.PT", "weights.pth", "pytorch_model.bin.index.json", "x.ckpt"}) {
    const auto format = foreign_format_of("what is this"s, {}, name);
    ASSERT_TRUE(format) << name;
    EXPECT_THAT(std::string(format->what), HasSubstr("pickle")) << name;
    EXPECT_THAT(std::string(format->way_out), HasSubstr("safetensors")) << name;
  }
  EXPECT_THAT(std::string(foreign_format_of("GGUF"s, {}, "pytorch_model.bin")->what), HasSubstr("GGUF"));
  for (const char* name : {"model.safetensors", "config.json", "model.safetensors.index.json", "bin", ""}) {
    EXPECT_FALSE(foreign_format_of_name(name)) << name;
  }
}

TEST(ForeignFormat, KnowsIndexesOfOtherFormatsByTheirNames) {
  const auto what = [](const char* name) { return std::string(foreign_format_of_name(name).value().what); };
  EXPECT_THAT(what("pytorch_model.bin.index.json"), HasSubstr("index of a pickle"));
  EXPECT_THAT(what("pytorch_model.bin.index.fp16.json"), HasSubstr("index of a pickle"));
  EXPECT_THAT(what("tf_model.h5.index.json"), HasSubstr("index of a TensorFlow"));
  EXPECT_THAT(what("flax_model.msgpack.index.json"), HasSubstr("index of a Flax"));
  EXPECT_THAT(what("model.gguf.index.json"), HasSubstr("index of a checkpoint in another format"));
}

TEST(ForeignFormat, KnowsJsonFromItsFirstBytes) {
  for (const char* text : {"{}", "{\"a\": 1}", " \n\t{", "{\r\n"}) {
    EXPECT_TRUE(begins_as_json(std::string(text))) << text;
    EXPECT_THAT(what(text), HasSubstr("JSON")) << text;
  }
  for (const char* text : {"", "[]", "<html>", "version https://git-lfs.github.com/spec/v1"}) {
    EXPECT_FALSE(begins_as_json(std::string(text))) << text;
  }
}

}  // namespace
}  // namespace sluice
