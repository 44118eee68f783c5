#include "loader/format/json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "loader/format/safetensors_format.hpp"

namespace sluice {
namespace {

bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}

/// Without the white space that simdjson leaves behind a token.
std::string_view trimmed(std::string_view token) noexcept {
  const auto last = token.find_last_not_of(" \t\n\r");
  return token.substr(0, last == std::string_view::npos ? 0 : last + 1);
}

/// Powers of ten, exactly rounded. Only numbers in values that are passed over and that have an exponent get here.
double power_of_ten(int exponent) noexcept {
  const std::string text = fmt::format("1e{}", exponent);
  double power = 0;
  std::from_chars(text.data(), text.data() + text.size(), power);
  return power;
}

/// `f64_from_parts` of serde_json 1.0: whether significand * 10^exponent is finite in its arithmetic.
bool is_finite(std::uint64_t significand, std::int64_t exponent) noexcept {
  constexpr std::int64_t table_max = 308;  // its table holds 1e0 to 1e308
  if (exponent < 0 || significand == 0) return true;
  if (exponent > table_max) return false;
  return !std::isinf(static_cast<double>(significand) * power_of_ten(static_cast<int>(exponent)));
}

}  // namespace

char* Json::room(std::size_t bytes, std::size_t kept) {
  const std::size_t needed = bytes + simdjson::SIMDJSON_PADDING;
  if (needed > buffer_.size()) {
    BigVector<char> buffer(std::max(needed, buffer_.size() + buffer_.size() / 2));
    std::copy_n(buffer_.data(), kept, buffer.data());
    buffer_ = std::move(buffer);
  }
  return buffer_.data();
}

Json::Object Json::open(std::size_t begin, std::size_t end, ErrorCode code, const std::filesystem::path& path) {
  code_ = code;
  path_ = &path;
  end_ = end;
  // simdjson reads this far beyond the end, and must find nothing there that could close a bracket.
  std::memset(buffer_.data() + end, 0, simdjson::SIMDJSON_PADDING);
  const char* const text = buffer_.data() + begin;
  const std::size_t bytes = end - begin;
  if (bytes >= 3 && std::memcmp(text, "\xEF\xBB\xBF", 3) == 0) fail("the JSON begins with a byte order mark", begin);
  if (const auto error = parser_.iterate(text, bytes, bytes + simdjson::SIMDJSON_PADDING).get(document_)) {
    if (error == simdjson::MEMALLOC) throw std::bad_alloc();  // of its parser's own; the text may be right
    fail(fmt::format("not valid JSON ({})", simdjson::error_message(error)), begin);
  }
  simdjson::ondemand::json_type type{};
  if (document_.type().get(type) || type != simdjson::ondemand::json_type::object) fail("not a JSON object", begin);
  return take(document_.get_object());
}

void Json::close() {
  // Behind the last token there is no location.
  if (document_.current_location().error() != simdjson::OUT_OF_BOUNDS) fail_here("something follows the JSON object");
}

std::string_view Json::key_of(Field& field) {
  if (const auto plain = plain_text(field.key().raw())) return *plain;
  return take(field.unescaped_key());
}

simdjson::simdjson_result<std::string_view> Json::string_of(Value value) {
  const std::string_view token = value.raw_json_token();
  if (token.starts_with('"')) {
    if (const auto plain = plain_text(token.data() + 1)) {
      simdjson::ondemand::raw_json_string read_on;
      check(value.get_raw_json_string().get(read_on));
      return std::string_view(*plain);
    }
  }
  return value.get_string();
}

std::optional<std::string_view> Json::plain_text(const char* string) const noexcept {
  const auto rest = static_cast<std::size_t>(buffer_.data() + end_ - string);
  const auto* const quote = static_cast<const char*>(std::memchr(string, '"', rest));
  if (quote == nullptr) return std::nullopt;
  const std::string_view text(string, static_cast<std::size_t>(quote - string));
  if (text.find('\\') != std::string_view::npos) return std::nullopt;
  return text;
}

void Json::pass_over(Value value, unsigned depth) {
  using simdjson::ondemand::json_type;
  const json_type type = take(value.type());
  if ((type == json_type::object || type == json_type::array) && depth >= safetensors::nesting_max) {
    fail_here("objects and arrays lie too deep in each other");
  }
  switch (type) {
    case json_type::object:
      for (auto result : take(value.get_object())) {
        auto field = take(std::move(result));
        take(field.unescaped_key());
        pass_over(field.value(), depth + 1);
      }
      return;
    case json_type::array:
      for (auto element : take(value.get_array())) pass_over(take(std::move(element)), depth + 1);
      return;
    case json_type::string:
      take(value.get_string());
      return;
    case json_type::number: {
      const std::string_view token = trimmed(value.raw_json_token());
      if (!is_serde_number(token)) fail_here("a number that is not valid JSON, or too large");
      return;  // whoever walks on passes over a scalar that was only looked at
    }
    case json_type::boolean:
      take(value.get_bool());
      return;
    case json_type::null:
      if (!is_null(value)) fail_here("neither null nor any other JSON value");
      return;
  }
}

bool Json::is_null(Value value) {
  bool null = false;
  return !value.is_null().get(null) && null;
}

void Json::fail(std::string message, std::size_t offset, std::string_view tensor, std::string hint) const {
  throw Error(code_, std::move(message), {path_->string(), offset, std::string(tensor)}, std::move(hint));
}

void Json::fail_here(std::string message, std::string_view tensor) {
  const char* location = nullptr;
  // Past the last token simdjson knows no location: then it is the end that came too early.
  if (document_.current_location().get(location)) location = buffer_.data() + end_;
  const auto offset = static_cast<std::size_t>(location - buffer_.data());
  fail(std::move(message), std::min(offset, end_), tensor);
}

void Json::fail(simdjson::error_code error) {
  if (error == simdjson::MEMALLOC) throw std::bad_alloc();
  fail_here(fmt::format("not valid JSON ({})", simdjson::error_message(error)));
}

bool is_serde_number(std::string_view text) noexcept {
  std::size_t at = 0;
  const auto peek = [&] { return at < text.size() ? text[at] : '\0'; };
  if (peek() == '-') ++at;
  if (!is_digit(peek())) return false;
  if (peek() == '0' && at + 1 < text.size() && is_digit(text[at + 1])) return false;

  // Digits count until the next would overflow 64 bits; from then on those before the point only raise the exponent and
  // those behind it are dropped.
  std::uint64_t significand = 0;
  std::int64_t exponent = 0;
  bool full = false;
  const auto append = [&](char digit) {
    const auto value = static_cast<std::uint64_t>(digit - '0');
    constexpr auto max = std::numeric_limits<std::uint64_t>::max();
    if (significand > max / 10 || (significand == max / 10 && value > max % 10)) return false;
    significand = significand * 10 + value;
    return true;
  };
  while (is_digit(peek())) {
    full = full || !append(peek());
    if (full) ++exponent;
    ++at;
  }
  bool is_integer = !full;
  if (peek() == '.') {
    is_integer = false;
    ++at;
    if (!is_digit(peek())) return false;
    // Behind a long integer the digits are tried anew: the parser does not remember that it was full.
    bool dropping = false;
    for (; is_digit(peek()); ++at) {
      dropping = dropping || !append(peek());
      if (!dropping) --exponent;
    }
  }
  if (peek() == 'e' || peek() == 'E') {
    is_integer = false;
    ++at;
    const bool negative = peek() == '-';
    if (peek() == '-' || peek() == '+') ++at;
    if (!is_digit(peek())) return false;
    constexpr std::int64_t exponent_max = std::numeric_limits<std::int32_t>::max();
    std::int64_t value = 0;
    bool overflows = false;
    for (; is_digit(peek()); ++at) {
      if (!overflows) value = value * 10 + (peek() - '0');
      overflows = overflows || value > exponent_max;
    }
    if (at != text.size()) return false;
    if (overflows) return negative || significand == 0;
    exponent += negative ? -value : value;
  }
  if (at != text.size()) return false;
  return is_integer || is_finite(significand, exponent);
}

}  // namespace sluice
