// Goal: people who hand in another format are told which it is and what to do; safetensors is never taken for one.
// Method: the first bytes of each format, as its writers write them, and the names it goes by.
#include "loader/format/foreign_format.hpp"

#include <gmock/gmock.h>

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

TEST(ForeignFormat, TakesNoHeaderOfSafetensorsForAPickle) {
  EXPECT_EQ(what("\x80\x02\0\0\0\0\0\0{\"a\":{}}"s), "");
  EXPECT_EQ(what("\x08\0\0\0\0\0\0\0{}      "s), "");
  EXPECT_EQ(what(""), "");
}

TEST(ForeignFormat, GoesByNameWhereContentTellsNothing) {
  for (const char* name : {"pytorch_model.bin", "model.PT", "weights.pth", "pytorch_model.bin.index.json", "x.ckpt"}) {
    const auto format = foreign_format_of_name(name);
    ASSERT_TRUE(format) << name;
    EXPECT_THAT(std::string(format->what), HasSubstr("pickle")) << name;
    EXPECT_THAT(std::string(format->way_out), HasSubstr("safetensors")) << name;
  }
  EXPECT_FALSE(foreign_format_of_name("model.safetensors"));
  EXPECT_FALSE(foreign_format_of_name("config.json"));
}

}  // namespace
}  // namespace sluice
