// NamePattern: a name as a rules file writes it: literal, or with expressions in braces, and in patterns with `*`,
// which matches anything, and with braces around a name without a value, which capture a number. A name in quotes is
// literal throughout. Immutable.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "loader/rules/cursor.hpp"
#include "loader/rules/expression.hpp"
#include "loader/rules/scope.hpp"

namespace sluice::rules {

class NameMatcher;

class NamePattern {
 public:
  /// Takes the name that is next. `what` says in messages what is expected. Throws Error{bad_rules}.
  static NamePattern parse(Cursor& cursor, Symbols& symbols, std::string_view what);

  /// The name, of which every brace has a value. Throws Error{bad_rules}.
  std::string name(const Scope& scope) const;
  /// Whether every name in its braces has a value by now.
  bool is_known(const Scope& scope) const noexcept;
  /// What it matches with the values that the scope has.
  NameMatcher matcher(const Scope& scope) const;

  Place place() const noexcept { return place_; }
  /// As it is written.
  std::string_view written(const RulesText& text) const { return text.between(place_, end_); }
  /// Whether there is a `*` in it.
  bool has_star() const noexcept { return has_star_; }
  /// Refuses `*` where it means nothing.
  void refuse_star(const RulesText& text, std::string_view where) const;

 private:
  struct Piece {
    enum class What : std::uint8_t { literal, star, braces };
    What what = What::literal;
    std::string text;  // of a literal
    Expression expression;
  };

  void parse_braces(Cursor& cursor, Symbols& symbols);
  void append(const Piece& piece, const Scope& scope, std::string& name) const;

  std::vector<Piece> pieces_;
  Place place_ = 0;
  Place end_ = 0;
  bool has_star_ = false;
};

/// A pattern with values put in.
class NameMatcher {
 public:
  /// Whether it has neither `*` nor a capture: then `head()` is the one name that it matches.
  bool is_exact() const noexcept { return parts_.empty(); }
  /// What every name that matches begins with.
  const std::string& head() const noexcept { return head_; }
  /// What its captures are called, in their order.
  const std::vector<Symbol>& captures() const noexcept { return captures_; }

  /// Whether `name` matches. If so, `captured` has the numbers in the order of captures(). A capture takes all digits
  /// that stand together, and `*` as few characters as it can. Adds what that took to `tries`.
  bool matches(std::string_view name, std::vector<std::int64_t>& captured, std::uint64_t& tries) const;

 private:
  friend class NamePattern;

  // What follows the head: a star or a capture, and a literal behind it.
  struct Part {
    bool is_star = false;
    std::uint32_t capture = 0;  // index into captures_
    std::string behind;
  };

  static bool take_number(std::string_view name, std::size_t& at, std::int64_t& number);

  std::string head_;
  std::vector<Part> parts_;
  std::vector<Symbol> captures_;
};

}  // namespace sluice::rules
