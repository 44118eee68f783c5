#include "loader/rules/cursor.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cstddef>
#include <system_error>

#include "loader/base/limits.hpp"

namespace sluice::rules {
namespace {

bool is_digit(char byte) noexcept {
  return byte >= '0' && byte <= '9';
}
bool begins_word(char byte) noexcept {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_';
}
bool is_blank(char byte) noexcept {
  return byte == ' ' || byte == '\t' || byte == '\r';
}

// How many bytes at the head of `text` are an identifier.
std::size_t word_bytes(std::string_view text) noexcept {
  if (text.empty() || !begins_word(text[0])) return 0;
  std::size_t bytes = 1;
  while (bytes < text.size() && (begins_word(text[bytes]) || is_digit(text[bytes]))) ++bytes;
  return bytes;
}

}  // namespace

bool is_bare(char byte) noexcept {
  if (begins_word(byte) || is_digit(byte) || (static_cast<unsigned char>(byte) & 0x80u) != 0) return true;
  return std::string_view(".-/:+@$%~*").find(byte) != std::string_view::npos;
}

Cursor::Cursor(const RulesText& text) noexcept : text_(text) {
  if (text.text().starts_with("\xEF\xBB\xBF")) at_ = 3;  // what some editors begin a file with
}

void Cursor::skip_blanks() noexcept {
  while (at_ < text_.text().size() && is_blank(text_.text()[at_])) ++at_;
}

bool Cursor::next_line() noexcept {
  while (at_end()) {
    const std::size_t newline = rest().find('\n');
    if (newline == std::string_view::npos) return false;
    at_ += static_cast<Place>(newline) + 1;
  }
  return true;
}

Place Cursor::place() noexcept {
  skip_blanks();
  return at_;
}

bool Cursor::at_end() noexcept {
  skip_blanks();
  return rest().empty() || rest()[0] == '\n' || rest()[0] == '#';
}

bool Cursor::sees(std::string_view symbol) noexcept {
  skip_blanks();
  return rest().starts_with(symbol);
}

bool Cursor::take(std::string_view symbol) noexcept {
  if (!sees(symbol)) return false;
  at_ += static_cast<Place>(symbol.size());
  return true;
}

void Cursor::expect(std::string_view symbol, std::string_view what) {
  if (!take(symbol)) refuse(what);
}

std::string_view Cursor::word() noexcept {
  skip_blanks();
  return rest().substr(0, word_bytes(rest()));
}

bool Cursor::take_word(std::string_view word) noexcept {
  if (this->word() != word) return false;
  at_ += static_cast<Place>(word.size());
  return true;
}

bool Cursor::take_keyword(std::string_view word) noexcept {
  if (this->word() != word) return false;
  const std::string_view behind = rest().substr(word.size());
  if (!behind.empty() && !is_blank(behind[0]) && behind[0] != '\n' && behind[0] != '#') return false;
  at_ += static_cast<Place>(word.size());
  return true;
}

std::string_view Cursor::expect_word(std::string_view what) {
  const std::string_view found = word();
  if (found.empty()) refuse(what);
  at_ += static_cast<Place>(found.size());
  return found;
}

bool Cursor::at_number() noexcept {
  skip_blanks();
  return !rest().empty() && is_digit(rest()[0]);
}

std::int64_t Cursor::number() {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(rest().data(), rest().data() + rest().size(), number);
  const auto bytes = static_cast<Place>(end - rest().data());
  if (error != std::errc{}) {
    text_.refuse(at_, fmt::format("{} is larger than {}, the largest number", rest().substr(0, bytes), INT64_MAX));
  }
  if (word_bytes(rest().substr(bytes)) != 0) {
    text_.refuse(
        at_,
        fmt::format("'{}' is neither a number nor a name", rest().substr(0, bytes + word_bytes(rest().substr(bytes)))),
        "names begin with a letter");
  }
  at_ += bytes;
  return number;
}

std::string Cursor::quoted() {
  const Place begin = at_++;
  std::string meant;
  for (;;) {
    if (rest().empty() || rest()[0] == '\n')
      text_.refuse(begin, "the quote is not closed in its line", "end it with \"");
    const char byte = rest()[0];
    ++at_;
    if (byte == '"') return meant;
    meant += byte == '\\' ? escape() : byte;
  }
}

// What is behind a backslash.
char Cursor::escape() {
  const char kind = rest().empty() ? '\n' : rest()[0];
  const Place begin = at_ - 1;
  ++at_;
  switch (kind) {
    case '"':
    case '\\':
      return kind;
    case 'n':
      return '\n';
    case 't':
      return '\t';
    case 'x': {
      unsigned value = 0;
      const std::string_view digits = rest().substr(0, 2);
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
      if (error == std::errc{} && end == digits.data() + 2) {
        at_ += 2;
        return static_cast<char>(value);
      }
      break;
    }
    default:
      break;
  }
  text_.refuse(begin, "a backslash in quotes means nothing here", R"(write \", \\, \n, \t or \x and two digits)");
}

std::string_view Cursor::bare() noexcept {
  std::size_t bytes = 0;
  while (bytes < rest().size() && is_bare(rest()[bytes]) && !rest().substr(bytes).starts_with("->")) ++bytes;
  const std::string_view taken = rest().substr(0, bytes);
  at_ += static_cast<Place>(bytes);
  return taken;
}

bool Cursor::take_adjacent(std::string_view symbol) noexcept {
  if (!rest().starts_with(symbol)) return false;
  at_ += static_cast<Place>(symbol.size());
  return true;
}

Cursor::Nesting::Nesting(Cursor& cursor) : cursor_(cursor) {
  if (cursor.depth_ == limits::rules_depth_max) {
    throw Error(ErrorCode::limit_exceeded,
                fmt::format("more than {} lie in each other here (rules_depth_max in sluice/limits.hpp)",
                            limits::rules_depth_max),
                cursor.text_.where(cursor.place()), "say it in steps, with let");
  }
  ++cursor.depth_;
}

std::string Cursor::found() {
  if (at_end()) return "the end of the line";
  const std::string_view word = this->word();
  if (!word.empty()) return fmt::format("'{}'", word.substr(0, 64));
  if (at_number()) {
    std::size_t digits = 0;
    while (digits < rest().size() && digits < 20 && is_digit(rest()[digits])) ++digits;
    return fmt::format("'{}'", rest().substr(0, digits));
  }
  std::size_t bytes = 1;  // of one character
  while (bytes < rest().size() && (static_cast<unsigned char>(rest()[bytes]) & 0xC0u) == 0x80u) ++bytes;
  if (rest().starts_with("->")) bytes = 2;
  return fmt::format("'{}'", rest().substr(0, bytes));
}

void Cursor::refuse(std::string_view what) {
  const Place place = this->place();
  text_.refuse(place, fmt::format("found {} where {} is expected", found(), what));
}

}  // namespace sluice::rules
