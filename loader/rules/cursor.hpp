// Cursor: walks a rules file from token to token, line by line: the parser's eyes. Blanks and comments between tokens
// are passed over; a token never reaches over the end of its line. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "loader/rules/rules_text.hpp"

namespace sluice::rules {

class Cursor {
 public:
  explicit Cursor(const RulesText& text) noexcept;

  const RulesText& text() const noexcept { return text_; }

  /// Moves to the next line that says something, from a line's end. False at the end of the file.
  bool next_line() noexcept;
  /// Where the next token begins.
  Place place() noexcept;
  /// Behind the last token that was taken.
  Place here() const noexcept { return at_; }
  /// Nothing but a comment is left in the line.
  bool at_end() noexcept;

  /// Whether the next token begins with `symbol`, which is not taken.
  bool sees(std::string_view symbol) noexcept;
  /// Takes `symbol` if it is next.
  bool take(std::string_view symbol) noexcept;
  /// Takes `symbol`, or refuses what is there. `what` says what is expected.
  void expect(std::string_view symbol, std::string_view what);

  /// The identifier that is next, which is not taken; empty where there is none.
  std::string_view word() noexcept;
  /// Takes the identifier `word` if it is next.
  bool take_word(std::string_view word) noexcept;
  /// Takes `word` if it is next and stands alone: behind it are a blank or the end of the line.
  bool take_keyword(std::string_view word) noexcept;
  /// Takes an identifier, or refuses what is there.
  std::string_view expect_word(std::string_view what);

  bool at_number() noexcept;
  /// Takes a number. REQUIRES: at_number().
  std::int64_t number();
  /// Takes a text in quotes, and gives what it means. REQUIRES: sees("\"").
  std::string quoted();
  /// Takes what follows immediately, without blanks before it, as long as it is part of a bare name: letters, digits,
  /// `_ . - / : + @ $ % ~ *` and all that is not ASCII; `->` ends it.
  std::string_view bare() noexcept;
  /// Whether `symbol` follows immediately, without blanks before it; if so, takes it.
  bool take_adjacent(std::string_view symbol) noexcept;

  /// Refuses what is next: "found 'x' where `what` is expected".
  [[noreturn]] void refuse(std::string_view what);

  /// Lasts as long as something that may hold others of its kind is parsed, and refuses to go too deep.
  class Nesting {
   public:
    explicit Nesting(Cursor& cursor);
    ~Nesting() { --cursor_.depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    Cursor& cursor_;
  };

 private:
  void skip_blanks() noexcept;
  std::string found();
  std::string_view rest() const noexcept { return text_.text().substr(at_); }
  char escape();

  const RulesText& text_;
  Place at_ = 0;
  unsigned depth_ = 0;
};

/// Whether a byte may stand in a name without quotes, `*` among them.
bool is_bare(char byte) noexcept;

}  // namespace sluice::rules
