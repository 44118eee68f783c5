#include "tests/sim/image.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "tests/sim/ptx/fatbinary.hpp"

namespace sluice::sim {
namespace {

constexpr std::uint32_t fatbinary_magic = 0xBA55ED50;

/// The newest PTX that a driver takes, 90 for 9.0: the release notes in the PTX ISA manual pair them.
int newest_ptx(int driver_version) {
  const int major = driver_version / 1000;
  const int minor = driver_version % 1000 / 10;
  if (major < 11) return 60 + std::max(0, minor + 3);  // 10.0 has 6.3
  return (major - 4) * 10 + (driver_version >= 12060 && major == 12 ? minor - 1 : minor);
}

int number_of(std::string_view version) {
  int major = 0;
  int minor = 0;
  const char* end = version.data() + version.size();
  const char* dot = std::from_chars(version.data(), end, major).ptr;
  if (dot != end) std::from_chars(dot + 1, end, minor);
  return major * 10 + minor;
}

std::string_view text_of(const void* data) {
  std::uint32_t magic = 0;
  std::memcpy(&magic, data, sizeof magic);
  if (magic != fatbinary_magic) return static_cast<const char*>(data);
  const auto* bytes = static_cast<const std::byte*>(data);
  const std::span<const std::byte, ptx::fatbinary_header_bytes> header(bytes, ptx::fatbinary_header_bytes);
  for (const ptx::Entry& entry : ptx::entries({bytes, ptx::fatbinary_bytes(header)})) {
    if (entry.kind == ptx::Entry::Kind::ptx) return entry.text;
  }
  return {};
}

/// Programs load the same code for every device and again with every start: it is parsed once. Under the driver's lock.
std::shared_ptr<const Image> parse_once(std::string_view text) {
  static std::string last_text;
  static std::shared_ptr<const Image> last;
  if (last == nullptr || last_text != text) {
    last = std::make_shared<const Image>(Image{ptx::parse(text)});
    last_text = text;
  }
  return last;
}

}  // namespace

LoadedImage load_image(const void* data, int driver_version) {
  try {
    const std::string_view text = text_of(data);
    if (text.empty()) return {cu::Result::no_binary_for_gpu, nullptr, {}};
    std::shared_ptr<const Image> image = parse_once(text);
    if (number_of(image->module.version) > newest_ptx(driver_version)) {
      return {cu::Result::unsupported_ptx_version, nullptr, {}};
    }
    return {cu::Result::success, std::move(image), {}};
  } catch (const ptx::FatbinaryError& error) {
    return {cu::Result::invalid_image, nullptr, error.what()};
  } catch (const ptx::Error& error) {
    return {cu::Result::invalid_ptx, nullptr, error.what()};
  }
}

}  // namespace sluice::sim
