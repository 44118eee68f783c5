// Lexer: PTX as words and symbols, each with its line. A word is whatever holds together without blanks:
// `ld.global.u32`,
// `%tid.x`, `.reg`, `0x1F`, `L2::128B`, a quoted text. Everything else is a symbol of one character.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::sim::ptx {

struct Token {
  std::string_view text;  // of the text that was parsed; empty at its end
  std::uint32_t line = 0;
};

class Lexer {
 public:
  /// `text` must outlive the lexer. Throws Error for what is neither word nor symbol.
  explicit Lexer(std::string_view text);

  const Token& peek() const { return tokens_[at_]; }
  std::string_view peek_second() const;
  /// Of the list that begins with the brace that is next: {a, b} has 2 members.
  unsigned list_length() const;
  Token next();
  bool accept(std::string_view text);
  void expect(std::string_view text);
  bool at_word() const;
  Token word();
  bool at_number() const;
  /// A literal, with its sign, as 64 bits: 12, -12, 0x1F, 017, 0b101, 3U; 0f3F800000 and 0d3FF0000000000000 as their
  /// bits.
  std::uint64_t number();
  /// What a line-based directive (.loc, .file) says.
  void skip_line();

 private:
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
};

}  // namespace sluice::sim::ptx
