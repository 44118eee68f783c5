#include "sluice/error.hpp"

#include <fmt/format.h>

#include <iterator>
#include <utility>

namespace sluice {
namespace {

// What a message shows of a tensor's name: names may be 64 KiB long, and a message is one line that people read.
constexpr std::size_t shown_bytes_max = 256;

/// Length of the UTF-8 character at the head of `text` if it may be shown as it is, else 0: for control characters
/// (C0, DEL and C1, with which a hostile name could drive a terminal), line separators and what is not UTF-8.
std::size_t printable_bytes(std::string_view text) noexcept {
  const auto at = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const auto continues = [&](std::size_t i) { return (at(i) & 0xC0u) == 0x80u; };
  const unsigned first = at(0);
  if (first < 0x80) return first >= 0x20 && first != 0x7F ? 1 : 0;
  if (first >= 0xC2 && first < 0xE0 && continues(1)) {
    return first == 0xC2 && at(1) < 0xA0 ? 0 : 2;
  }
  if (first >= 0xE0 && first < 0xF0 && continues(1) && continues(2)) {
    const unsigned code = (first & 0x0Fu) << 12 | (at(1) & 0x3Fu) << 6 | (at(2) & 0x3Fu);
    const bool overlong = code < 0x800;
    const bool surrogate = code >= 0xD800 && code < 0xE000;
    const bool steers = (code >= 0x200B && code <= 0x200F) || (code >= 0x2028 && code <= 0x202E) ||
                        (code >= 0x2066 && code <= 0x2069) || code == 0xFEFF;  // invisible, line breaks, text direction
    return overlong || surrogate || steers ? 0 : 3;
  }
  if (first >= 0xF0 && first < 0xF5 && continues(1) && continues(2) && continues(3)) {
    const unsigned second = at(1);
    return (first == 0xF0 && second < 0x90) || (first == 0xF4 && second >= 0x90) ? 0 : 4;
  }
  return 0;
}

std::string on_one_line(std::string_view text, bool quoted = false) {
  std::string line;
  line.reserve(text.size());
  while (!text.empty()) {
    std::size_t bytes = printable_bytes(text);
    if (quoted && (text[0] == '"' || text[0] == '\\')) line += '\\';
    if (bytes != 0) {
      line += text.substr(0, bytes);
    } else {
      bytes = 1;
      switch (text[0]) {
        case '\n':
          line += "\\n";
          break;
        case '\r':
          line += "\\r";
          break;
        case '\t':
          line += "\\t";
          break;
        default:
          fmt::format_to(std::back_inserter(line), "\\x{:02x}", static_cast<unsigned char>(text[0]));
      }
    }
    text.remove_prefix(bytes);
  }
  return line;
}

std::string shortened(std::string_view name) {
  if (name.size() <= shown_bytes_max) return fmt::format("\"{}\"", on_one_line(name, true));
  std::size_t kept = shown_bytes_max;
  while (kept > 0 && (static_cast<unsigned char>(name[kept]) & 0xC0u) == 0x80u) --kept;  // whole characters only
  return fmt::format("\"{}...\" ({} bytes long)", on_one_line(name.substr(0, kept), true), name.size());
}

std::string compose(ErrorCode code, const std::string& message, const Error::Where& where, const std::string& hint) {
  std::string line(name(code));
  for (char& c : line) {
    if (c == '_') c = ' ';
  }
  if (!message.empty()) line += ": " + on_one_line(message);
  std::string separator = ": ";
  const auto add = [&](const std::string& place) {
    line += separator + place;
    separator = ", ";
  };
  if (where.line != 0) {
    add(fmt::format("{}:{}:{}", on_one_line(where.path), where.line, where.column));
  } else if (!where.path.empty()) {
    add(on_one_line(where.path));
  }
  if (where.offset) add(fmt::format("byte {}", *where.offset));
  if (!where.tensor.empty()) add("tensor " + shortened(where.tensor));
  if (!hint.empty()) line += "; " + on_one_line(hint);
  return line;
}

}  // namespace

std::string_view name(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::invalid_argument:
      return "invalid_argument";
    case ErrorCode::not_found:
      return "not_found";
    case ErrorCode::io:
      return "io";
    case ErrorCode::bad_header:
      return "bad_header";
    case ErrorCode::bad_index:
      return "bad_index";
    case ErrorCode::unsupported_format:
      return "unsupported_format";
    case ErrorCode::limit_exceeded:
      return "limit_exceeded";
    case ErrorCode::tensor_not_found:
      return "tensor_not_found";
    case ErrorCode::file_changed:
      return "file_changed";
    case ErrorCode::out_of_memory:
      return "out_of_memory";
    case ErrorCode::device_unavailable:
      return "device_unavailable";
    case ErrorCode::reader_unavailable:
      return "reader_unavailable";
    case ErrorCode::cancelled:
      return "cancelled";
    case ErrorCode::incomplete:
      return "incomplete";
    case ErrorCode::bad_rules:
      return "bad_rules";
    case ErrorCode::system:
      return "system";
  }
  return "unknown";
}

Error::Error(ErrorCode code, std::string message, Where where, std::string hint)
    : std::runtime_error(compose(code, message, where, hint)),
      code_(code),
      message_(std::move(message)),
      where_(std::move(where)),
      hint_(std::move(hint)) {}

Error::~Error() = default;
Error::Error(const Error&) = default;
Error& Error::operator=(const Error&) = default;

}  // namespace sluice
