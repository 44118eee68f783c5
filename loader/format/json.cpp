#include "loader/format/json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "loader/format/safetensors_format.hpp"

namespace sluice {
namespace {

bool is_python_constant(std::string_view token) noexcept {
  token = token.substr(0, token.find_last_not_of(" \t\n\r") + 1);  // simdjson leaves white space behind a token
  return token == "NaN" || token == "Infinity" || token == "-Infinity";
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

Json::Object Json::open(std::size_t begin, std::size_t end, const Kind& kind, const std::filesystem::path& path) {
  kind_ = kind;
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
  // Whoever walks on passes over a scalar that was only looked at.
  if (kind_.python_constants && is_python_constant(value.raw_json_token())) return;
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
    case json_type::number:
      take(value.get_double());
      return;
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
  if (hint.empty()) hint = kind_.hint;
  throw Error(kind_.code, std::move(message), {path_->string(), offset, std::string(tensor)}, std::move(hint));
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

}  // namespace sluice
