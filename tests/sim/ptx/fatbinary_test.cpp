// Goal: the entries of a fatbinary are found; whatever is damaged, cut off, compressed or unknown is an error, and
// nothing outside the bytes is read (which the address sanitizer sees). Method: images built field by field; one of
// them cut at every length and with every length field turned hostile; random bytes behind a valid header.
#include "tests/sim/ptx/fatbinary.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::sim::ptx {
namespace {

using Bytes = std::vector<std::byte>;

template <typename T>
void put(Bytes& bytes, std::size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

/// One entry, as nvcc writes it: `payload` is padded to a multiple of 8 by NULs.
Bytes entry(std::uint16_t kind, std::uint32_t architecture, std::string_view payload, std::uint32_t header_bytes = 64) {
  Bytes bytes(header_bytes + (payload.size() + 7) / 8 * 8);
  put<std::uint16_t>(bytes, 0, kind);
  put<std::uint16_t>(bytes, 2, 0x101);
  put<std::uint32_t>(bytes, 4, header_bytes);
  put<std::uint64_t>(bytes, 8, bytes.size() - header_bytes);
  put<std::uint32_t>(bytes, 28, architecture);
  std::memcpy(bytes.data() + header_bytes, payload.data(), payload.size());
  return bytes;
}

Bytes image(std::initializer_list<Bytes> parts) {
  std::size_t size = 16;
  for (const Bytes& part : parts) size += part.size();
  Bytes bytes(size);
  auto end = bytes.begin() + 16;
  for (const Bytes& part : parts) end = std::copy(part.begin(), part.end(), end);
  put<std::uint32_t>(bytes, 0, 0xba55ed50u);
  put<std::uint16_t>(bytes, 4, 1);
  put<std::uint16_t>(bytes, 6, 16);
  put<std::uint64_t>(bytes, 8, bytes.size() - 16);
  return bytes;
}

Bytes usual_image() {
  return image({entry(2, 75,
                      "\x7f"
                      "ELF and more"),
                entry(2, 90,
                      "\x7f"
                      "ELF",
                      112),
                entry(1, 75, ".version 9.0\n", 80)});
}

std::string message(std::span<const std::byte> bytes) {
  try {
    entries(bytes);
  } catch (const FatbinaryError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Fatbinary, GivesItsEntriesInOrder) {
  const Bytes bytes = usual_image();
  const std::vector<Entry> found = entries(bytes);
  ASSERT_EQ(found.size(), 3);
  EXPECT_EQ(found[0].kind, Entry::Kind::elf);
  EXPECT_EQ(found[0].architecture, 75);
  EXPECT_EQ(found[0].payload.size(), 16);
  EXPECT_EQ(found[0].text, "");
  EXPECT_EQ(found[1].architecture, 90);
  EXPECT_EQ(found[1].payload[3], std::byte{'F'});
  EXPECT_EQ(found[2].kind, Entry::Kind::ptx);
  EXPECT_EQ(found[2].text, ".version 9.0\n") << "without padding";
  EXPECT_EQ(entries(image({})).size(), 0);
}

TEST(Fatbinary, KnowsItsLengthFromItsHeader) {
  Bytes bytes = usual_image();
  const std::span<const std::byte, 16> header(bytes.data(), 16);
  EXPECT_EQ(fatbinary_bytes(header), bytes.size());
  bytes.resize(bytes.size() + 100, std::byte{0xff});  // what lies behind it is not its own
  EXPECT_EQ(entries(bytes).size(), 3);
  put<std::uint64_t>(bytes, 8, UINT64_MAX - 15);
  EXPECT_THROW(fatbinary_bytes(std::span<const std::byte, 16>(bytes.data(), 16)), FatbinaryError);
  put<std::uint64_t>(bytes, 8, UINT64_MAX - 16);
  EXPECT_EQ(fatbinary_bytes(std::span<const std::byte, 16>(bytes.data(), 16)), UINT64_MAX);
  EXPECT_THAT(message(bytes), testing::HasSubstr("a fatbinary of 18446744073709551615 bytes where"));
}

TEST(Fatbinary, RefusesImagesThatEndAnywhere) {
  const Bytes whole = usual_image();
  for (std::size_t length = 0; length < whole.size(); ++length) {
    // In memory of exactly that size, with the length in the header as it was, and set to fit.
    Bytes cut(whole.begin(), whole.begin() + static_cast<long>(length));
    EXPECT_NE(message(cut), "no error") << length;
    if (length > 16) {
      put<std::uint64_t>(cut, 8, length - 16);
      const std::size_t first_bytes = 64 + 16;
      const std::size_t second_bytes = 112 + 8;
      const bool at_an_end = length == 16 + first_bytes || length == 16 + first_bytes + second_bytes;
      EXPECT_EQ(message(cut) == "no error", at_an_end) << length;
    }
  }
}

TEST(Fatbinary, RefusesHostileLengths) {
  const std::uint64_t hostile[] = {
      0, 1, 63, 81, 0x7fffffff, 0x80000000, 0xffffffff, UINT64_MAX / 2, UINT64_MAX - 63, UINT64_MAX - 15, UINT64_MAX};
  for (const std::uint64_t length : hostile) {
    Bytes header_length = image({entry(1, 75, ".version 9.0")});
    put<std::uint32_t>(header_length, 16 + 4, static_cast<std::uint32_t>(length));
    EXPECT_NE(message(header_length), "no error") << length;
    Bytes payload_length = image({entry(1, 75, ".version 9.0")});
    put<std::uint64_t>(payload_length, 16 + 8, length);
    EXPECT_NE(message(payload_length), "no error") << length;
  }
}

TEST(Fatbinary, RefusesWhatItDoesNotKnow) {
  EXPECT_THAT(message(image({entry(3, 75, "?")})), testing::HasSubstr("unknown kind 3"));
  Bytes compressed = image({entry(1, 75, ".version 9.0")});
  put<std::uint32_t>(compressed, 16 + 16, 5);
  EXPECT_THAT(message(compressed), testing::HasSubstr("--compress-mode=none"));
  Bytes other = usual_image();
  put<std::uint32_t>(other, 0, 0x464c457fu);
  EXPECT_THAT(message(other), testing::HasSubstr("no fatbinary"));
  Bytes later = usual_image();
  put<std::uint16_t>(later, 4, 2);
  EXPECT_THAT(message(later), testing::HasSubstr("version 2"));
  Bytes longer = usual_image();
  put<std::uint16_t>(longer, 6, 24);
  EXPECT_THAT(message(longer), testing::HasSubstr("header of 24 bytes"));
}

RC_GTEST_PROP(Fatbinary, SurvivesAnyBytes, (const std::vector<std::uint8_t>& noise, std::uint64_t seed)) {
  Bytes bytes = usual_image();
  for (std::size_t i = 0; i < noise.size(); ++i) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    bytes[16 + (seed >> 33) % (bytes.size() - 16)] = std::byte{noise[i]};
  }
  message(bytes);
}

}  // namespace
}  // namespace sluice::sim::ptx
