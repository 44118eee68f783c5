// Goal: every dtype of the format has the name, size and alignment that the format gives it.
// Method: walk all of them; compare with a list written by hand after the format's specification.
#include "sluice/dtype.hpp"

#include <gmock/gmock.h>

#include <cstdint>
#include <map>
#include <string>

// A program's own short names, as many have them.
using u8 = std::uint8_t;
using i32 = std::int32_t;
using boolean = bool;

namespace {

TEST(Dtype, LeavesAProgramItsOwnShortNames) {
  using namespace sluice;
  const u8 byte = 1;
  const i32 number = 2;
  const boolean truth = true;
  EXPECT_EQ(byte + number + truth, 4);
  EXPECT_EQ(bf16, Dtype::bf16);  // what cast() takes is short
}

}  // namespace

namespace sluice {
namespace {

const std::map<std::string, unsigned>& bits_by_name() {
  static const std::map<std::string, unsigned> table = {
      {"BOOL", 8},    {"U8", 8},      {"I8", 8},      {"U16", 16},        {"I16", 16},    {"U32", 32},
      {"I32", 32},    {"U64", 64},    {"I64", 64},    {"F16", 16},        {"BF16", 16},   {"F32", 32},
      {"F64", 64},    {"C64", 64},    {"F8_E4M3", 8}, {"F8_E5M2", 8},     {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F4", 4},      {"F8_E5M2FNUZ", 8},
  };
  return table;
}

TEST(Dtype, ReadsAndSpellsEveryName) {
  ASSERT_EQ(bits_by_name().size(), dtype_count);
  for (const auto& [text, size] : bits_by_name()) {
    const auto dtype = parse_dtype(text);
    ASSERT_TRUE(dtype) << text;
    EXPECT_EQ(name(*dtype), text);
    EXPECT_EQ(bits(*dtype), size) << text;
  }
}

TEST(Dtype, KnowsNoOtherSpelling) {
  for (const char* text : {"", "f32", "F32 ", " F32", "F33", "F8", "bool", "F8_E4M3FN", "BF16\n"}) {
    EXPECT_FALSE(parse_dtype(text)) << text;
  }
}

TEST(Dtype, AlignsElementsToTheirSizeAndComplexOnesToTheirParts) {
  for (unsigned i = 0; i < dtype_count; ++i) {
    const auto dtype = static_cast<Dtype>(i);
    const unsigned expected = dtype == Dtype::c64 ? 4 : (bits(dtype) + 7) / 8;
    EXPECT_EQ(natural_alignment(dtype), expected) << name(dtype);
  }
}

TEST(Dtype, CastsFloatingPointOfWholeBytesThatPyTorchCasts) {
  std::string castable;
  for (unsigned i = 0; i < dtype_count; ++i) {
    if (is_castable(static_cast<Dtype>(i))) castable += std::string(name(static_cast<Dtype>(i))) + " ";
  }
  EXPECT_EQ(castable, "F16 BF16 F32 F64 F8_E4M3 F8_E5M2 ");
}

}  // namespace
}  // namespace sluice
