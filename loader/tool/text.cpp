#include "loader/tool/text.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <iterator>

namespace sluice::tool {

namespace {

struct CodePoint {
  char32_t value;
  std::size_t bytes;  // 0: what begins here is not UTF-8
};

CodePoint decode(std::string_view text) noexcept {
  const auto byte = [&](std::size_t index) { return static_cast<unsigned char>(text[index]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {first, 1};
  const std::size_t bytes = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < bytes) return {0, 0};
  char32_t value = first & (0x7fu >> bytes);
  for (std::size_t index = 1; index < bytes; ++index) {
    if ((byte(index) & 0xc0) != 0x80) return {0, 0};
    value = value << 6 | (byte(index) & 0x3fu);
  }
  static constexpr std::array<char32_t, 5> least = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = value >= 0xd800 && value <= 0xdfff;
  if (value < least[bytes] || value > 0x10ffff || surrogate) return {0, 0};
  return {value, bytes};
}

// Controls (C0, DEL, C1), line and paragraph separators, and what turns the direction of the text around it.
bool is_printable(char32_t value) noexcept {
  const bool control = value < 0x20 || (value >= 0x7f && value < 0xa0);
  const bool separator_or_override = value == 0x200e || value == 0x200f || (value >= 0x2028 && value <= 0x202e);
  const bool isolate = value >= 0x2066 && value <= 0x2069;
  return !control && !separator_or_override && !isolate;
}

std::string scaled(std::uint64_t bytes, double step, std::span<const std::string_view> units) {
  if (static_cast<double>(bytes) < step) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / step;
  std::size_t unit = 0;
  while (value >= 999.95 && unit + 1 < units.size()) {  // what rounds to 1000.0 is written in the next unit
    value /= step;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, units[unit]);
}

}  // namespace

void append_escaped(std::string& target, std::string_view text) {
  while (!text.empty()) {
    const CodePoint next = decode(text);
    const std::size_t bytes = next.bytes == 0 ? 1 : next.bytes;
    if (next.bytes != 0 && is_printable(next.value)) {
      target += text.substr(0, bytes);
    } else if (text.front() == '\n') {
      target += "\\n";
    } else if (text.front() == '\t') {
      target += "\\t";
    } else if (next.value >= 0x80) {
      fmt::format_to(std::back_inserter(target), "\\u{:04x}", static_cast<unsigned>(next.value));
    } else {
      fmt::format_to(std::back_inserter(target), "\\x{:02x}", static_cast<unsigned char>(text.front()));
    }
    text.remove_prefix(bytes);
  }
}

std::string escaped(std::string_view text) {
  std::string result;
  append_escaped(result, text);
  return result;
}

std::string decimal_size(std::uint64_t bytes) {
  static constexpr std::array<std::string_view, 5> units = {"kB", "MB", "GB", "TB", "PB"};
  return scaled(bytes, 1000, units);
}

std::string binary_size(std::uint64_t bytes) {
  static constexpr std::array<std::string_view, 5> units = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  return scaled(bytes, 1024, units);
}

std::string duration(double seconds) {
  if (seconds < 0.9995) return fmt::format("{:.3g} ms", seconds * 1e3);
  if (seconds < 99.5) return fmt::format("{:.3g} s", seconds);
  const auto whole = static_cast<std::uint64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole / 60 % 60);
}

std::string shape(std::span<const std::uint64_t> extents) {
  return fmt::format("[{}]", fmt::join(extents, ", "));
}

std::string count(std::uint64_t number, std::string_view singular) {
  return count(number, singular, fmt::format("{}s", singular));
}

std::string count(std::uint64_t number, std::string_view singular, std::string_view plural) {
  return fmt::format("{} {}", number, number == 1 ? singular : plural);
}

}  // namespace sluice::tool
