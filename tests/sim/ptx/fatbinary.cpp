#include "tests/sim/ptx/fatbinary.hpp"

#include <fmt/format.h>

#include <bit>
#include <cstring>

namespace sluice::sim::ptx {
namespace {

static_assert(std::endian::native == std::endian::little, "fields are read as they lie");

constexpr std::uint32_t magic = 0xba55ed50u;
constexpr std::uint64_t entry_header_bytes_min = 64;

/// Numbers at fixed places of a header that is known to be long enough.
template <typename T>
T field(std::span<const std::byte> header, std::size_t offset) {
  T value;
  std::memcpy(&value, header.data() + offset, sizeof value);
  return value;
}

/// Takes the first `bytes` off `rest`.
std::span<const std::byte> take(std::span<const std::byte>& rest, std::uint64_t bytes, const char* what) {
  if (bytes > rest.size()) {
    throw FatbinaryError(fmt::format("{} of {} bytes where {} are left", what, bytes, rest.size()));
  }
  const auto taken = rest.first(bytes);
  rest = rest.subspan(bytes);
  return taken;
}

Entry entry(std::span<const std::byte>& rest) {
  if (rest.size() < entry_header_bytes_min) {
    throw FatbinaryError(fmt::format("{} bytes where an entry belongs", rest.size()));
  }
  const auto kind = field<std::uint16_t>(rest, 0);
  if (kind != 1 && kind != 2) {
    throw FatbinaryError(fmt::format("an entry of the unknown kind {}", kind));
  }
  const auto header_bytes = field<std::uint32_t>(rest, 4);
  if (header_bytes < entry_header_bytes_min) {
    throw FatbinaryError(fmt::format("an entry's header of {} bytes", header_bytes));
  }
  const auto header = take(rest, header_bytes, "an entry's header");
  if (field<std::uint32_t>(header, 16) != 0) {
    throw FatbinaryError("a compressed entry: build with --compress-mode=none");
  }
  Entry found;
  found.kind = kind == 1 ? Entry::Kind::ptx : Entry::Kind::elf;
  found.architecture = field<std::uint32_t>(header, 28);
  found.payload = take(rest, field<std::uint64_t>(header, 8), "an entry");
  if (found.kind == Entry::Kind::ptx) {
    found.text = {reinterpret_cast<const char*>(found.payload.data()), found.payload.size()};
    found.text = found.text.substr(0, found.text.find_last_not_of('\0') + 1);
  }
  return found;
}

}  // namespace

std::uint64_t fatbinary_bytes(std::span<const std::byte, fatbinary_header_bytes> header) {
  if (field<std::uint32_t>(header, 0) != magic) {
    throw FatbinaryError("no fatbinary: it begins otherwise");
  }
  const auto version = field<std::uint16_t>(header, 4);
  const auto header_bytes = field<std::uint16_t>(header, 6);
  const auto bytes = field<std::uint64_t>(header, 8);
  if (version != 1 || header_bytes != fatbinary_header_bytes) {
    throw FatbinaryError(fmt::format("a fatbinary of version {} with a header of {} bytes", version, header_bytes));
  }
  if (bytes > UINT64_MAX - header_bytes) {
    throw FatbinaryError(fmt::format("a fatbinary of {} bytes", bytes));
  }
  return header_bytes + bytes;
}

std::vector<Entry> entries(std::span<const std::byte> image) {
  if (image.size() < fatbinary_header_bytes) {
    throw FatbinaryError(fmt::format("{} bytes are no fatbinary", image.size()));
  }
  auto given = image;
  const std::uint64_t bytes = fatbinary_bytes(image.first<fatbinary_header_bytes>());
  auto rest = take(given, bytes, "a fatbinary").subspan(fatbinary_header_bytes);
  std::vector<Entry> found;
  while (!rest.empty()) {
    found.push_back(entry(rest));
  }
  return found;
}

}  // namespace sluice::sim::ptx
