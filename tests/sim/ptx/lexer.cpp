#include "tests/sim/ptx/lexer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "tests/sim/ptx/error.hpp"

namespace sluice::sim::ptx {
namespace {

constexpr std::string_view symbol_characters = ",;:[]{}()@!+-=<>|";

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_word(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '%' ||
         c == '.';
}

/// How far the word at the start of `text` goes. Colons in pairs belong to it: L1::no_allocate.
std::size_t word_length(std::string_view text) {
  std::size_t length = 0;
  while (length < text.size()) {
    if (is_word(text[length])) {
      ++length;
    } else if (text.substr(length, 2) == "::") {
      length += 2;
    } else {
      break;
    }
  }
  return length;
}

/// How far blanks and comments go, or a quoted text.
std::size_t blank_length(std::string_view text) {
  if (text.starts_with("//")) {
    return std::min(text.find('\n'), text.size());
  }
  if (text.starts_with("/*")) {
    const std::size_t end = text.find("*/", 2);
    return end == std::string_view::npos ? 0 : end + 2;
  }
  return text[0] == ' ' || text[0] == '\t' || text[0] == '\r' || text[0] == '\n' ? 1 : 0;
}

std::size_t quoted_length(std::string_view text) {
  const std::size_t end = text[0] == '"' ? text.find('"', 1) : std::string_view::npos;
  return end == std::string_view::npos ? 0 : end + 1;
}

}  // namespace

Lexer::Lexer(std::string_view text) {
  std::uint32_t line = 1;
  while (!text.empty()) {
    std::size_t length = blank_length(text);
    if (length == 0) {
      length = std::max(word_length(text), quoted_length(text));
      if (length == 0 && symbol_characters.find(text[0]) != std::string_view::npos) {
        length = 1;
      }
      if (length == 0) {
        throw Error(line, fmt::format("stray character {:#04x}", static_cast<unsigned char>(text[0])));
      }
      tokens_.push_back({text.substr(0, length), line});
    }
    line += static_cast<std::uint32_t>(std::count(text.begin(), text.begin() + static_cast<long>(length), '\n'));
    text.remove_prefix(length);
  }
  tokens_.push_back({{}, line});
}

std::string_view Lexer::peek_second() const {
  return at_ + 1 < tokens_.size() ? tokens_[at_ + 1].text : std::string_view();
}

unsigned Lexer::list_length() const {
  unsigned length = 1;
  for (std::size_t i = at_; !tokens_[i].text.empty() && tokens_[i].text != "}"; ++i) {
    length += tokens_[i].text == "," ? 1 : 0;
  }
  return length;
}

Token Lexer::next() {
  const Token token = peek();
  if (token.text.empty()) {
    throw Error(token.line, "the text ends in the middle");
  }
  ++at_;
  return token;
}

bool Lexer::accept(std::string_view text) {
  const bool found = peek().text == text;
  at_ += found ? 1 : 0;
  return found;
}

void Lexer::expect(std::string_view text) {
  const Token token = next();
  if (token.text != text) {
    throw Error(token.line, fmt::format("`{}` where `{}` belongs", token.text, text));
  }
}

bool Lexer::at_word() const {
  return !peek().text.empty() && is_word(peek().text[0]);
}

Token Lexer::word() {
  const Token token = next();
  if (!is_word(token.text[0])) {
    throw Error(token.line, fmt::format("`{}` where a word belongs", token.text));
  }
  return token;
}

bool Lexer::at_number() const {
  return peek().text == "-" || (!peek().text.empty() && is_digit(peek().text[0]));
}

std::uint64_t Lexer::number() {
  const bool negative = accept("-");
  const Token token = next();
  std::string_view digits = token.text;
  int base = 10;
  const auto prefix = [&](std::string_view lower, std::string_view upper, int its_base) {
    if (digits.starts_with(lower) || digits.starts_with(upper)) {
      base = its_base;
      digits.remove_prefix(lower.size());
    }
  };
  if (digits.size() > 2) {
    prefix("0x", "0X", 16);
    prefix("0b", "0B", 2);
    prefix("0f", "0F", 16);
    prefix("0d", "0D", 16);
  }
  if (base == 10 && digits.size() > 1) {
    prefix("0", "0", 8);
  }
  if (digits.size() > 1 && digits.ends_with('U')) {
    digits.remove_suffix(1);
  }
  std::uint64_t value = 0;
  const auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (problem != std::errc() || end != digits.data() + digits.size()) {
    throw Error(token.line, fmt::format("`{}` is no number of at most 64 bits", token.text));
  }
  return negative ? 0 - value : value;
}

void Lexer::skip_line() {
  const std::uint32_t line = peek().line;
  while (peek().line == line && !peek().text.empty()) {
    ++at_;
  }
}

}  // namespace sluice::sim::ptx
