#include "loader/rules/name_pattern.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <system_error>
#include <utility>

#include "loader/base/limits.hpp"

namespace sluice::rules {
namespace {

bool is_digit_at(std::string_view text, std::size_t at) noexcept {
  return at < text.size() && text[at] >= '0' && text[at] <= '9';
}

}  // namespace

NamePattern NamePattern::parse(Cursor& cursor, Symbols& symbols, std::string_view what) {
  NamePattern pattern;
  pattern.place_ = cursor.place();
  if (cursor.sees("\"")) {
    pattern.pieces_.push_back({Piece::What::literal, cursor.quoted(), {}});
    if (pattern.pieces_.back().text.empty()) cursor.text().refuse(pattern.place_, "the name is empty");
    pattern.end_ = cursor.here();
    return pattern;
  }
  for (;;) {
    for (std::string_view bare = cursor.bare(); !bare.empty();) {
      const std::size_t star = bare.find('*');
      if (star != 0) pattern.pieces_.push_back({Piece::What::literal, std::string(bare.substr(0, star)), {}});
      if (star == std::string_view::npos) break;
      pattern.pieces_.push_back({Piece::What::star, {}, {}});
      pattern.has_star_ = true;
      bare.remove_prefix(star + 1);
    }
    if (!cursor.take_adjacent("{")) break;
    pattern.parse_braces(cursor, symbols);
  }
  if (pattern.pieces_.empty()) cursor.refuse(what);
  pattern.end_ = cursor.here();
  return pattern;
}

void NamePattern::parse_braces(Cursor& cursor, Symbols& symbols) {
  const Cursor::Nesting nesting(cursor);
  pieces_.push_back({Piece::What::braces, {}, Expression::parse(cursor, symbols)});
  cursor.expect("}", "'}' or an operator");
}

void NamePattern::refuse_star(const RulesText& text, std::string_view where) const {
  if (!has_star_) return;
  text.refuse(place_, fmt::format("'*' in {}: {}", where, written(text)),
              "a '*' stands only in names that the checkpoint is to be searched for");
}

void NamePattern::append(const Piece& piece, const Scope& scope, std::string& name) const {
  if (piece.what == Piece::What::literal) {
    name += piece.text;
  } else {
    fmt::format_to(std::back_inserter(name), "{}", piece.expression.value(scope));
  }
  scope.spend_steps(1 + piece.text.size() / 16, place_);
  if (name.size() > limits::name_bytes_max) {
    scope.refuse(place_, fmt::format("the name has more than {} bytes", limits::name_bytes_max));
  }
}

bool NamePattern::is_known(const Scope& scope) const noexcept {
  return std::all_of(pieces_.begin(), pieces_.end(), [&](const Piece& piece) {
    return piece.what != Piece::What::braces || piece.expression.is_known(scope);
  });
}

std::string NamePattern::name(const Scope& scope) const {
  std::string name;
  for (const Piece& piece : pieces_) append(piece, scope, name);
  return name;
}

NameMatcher NamePattern::matcher(const Scope& scope) const {
  NameMatcher matcher;
  std::string* literal = &matcher.head_;
  for (const Piece& piece : pieces_) {
    const bool captures =
        piece.what == Piece::What::braces && piece.expression.is_name() && !scope.knows(piece.expression.symbol());
    if (piece.what != Piece::What::star && !captures) {
      append(piece, scope, *literal);
      continue;
    }
    NameMatcher::Part part;
    part.is_star = !captures;
    if (captures) {
      const Symbol symbol = piece.expression.symbol();
      if (std::find(matcher.captures_.begin(), matcher.captures_.end(), symbol) != matcher.captures_.end()) {
        scope.refuse(piece.expression.place(),
                     fmt::format("'{}' captures a second number in one name", scope.symbols().name(symbol)),
                     "give one of them another name, or bind it with for");
      }
      part.capture = static_cast<std::uint32_t>(matcher.captures_.size());
      matcher.captures_.push_back(symbol);
    }
    matcher.parts_.push_back(std::move(part));
    literal = &matcher.parts_.back().behind;
  }
  return matcher;
}

// Takes the number at `at`, all digits that stand together there.
bool NameMatcher::take_number(std::string_view name, std::size_t& at, std::int64_t& number) {
  if (!is_digit_at(name, at) || (at > 0 && is_digit_at(name, at - 1))) return false;
  const auto [end, error] = std::from_chars(name.data() + at, name.data() + name.size(), number);
  at = static_cast<std::size_t>(end - name.data());
  return error == std::errc{};
}

bool NameMatcher::matches(std::string_view name, std::vector<std::int64_t>& captured, std::uint64_t& tries) const {
  if (!name.starts_with(head_)) return false;
  captured.assign(captures_.size(), 0);
  std::size_t at = head_.size();
  // Where what follows does not match, the last star takes one character more. Those before it need not: they have
  // taken as little as they can.
  constexpr std::size_t none = std::string_view::npos;
  std::size_t star = none;
  std::size_t behind_star = 0;  // where what follows the star was tried last
  for (std::size_t i = 0;;) {
    ++tries;
    if (i == parts_.size() && at == name.size()) return true;
    bool fits = i < parts_.size();
    if (fits && parts_[i].is_star) {
      if (i + 1 == parts_.size() && parts_[i].behind.empty()) return true;
      star = i;
      at = name.find(parts_[i].behind, at);
      if (at == none) return false;
      behind_star = at;
      at += parts_[i].behind.size();
    } else if (fits) {
      fits = take_number(name, at, captured[parts_[i].capture]) && name.substr(at).starts_with(parts_[i].behind);
      at += parts_[i].behind.size();
    }
    if (fits) {
      ++i;
    } else if (star == none || behind_star >= name.size()) {
      return false;
    } else {
      i = star;
      at = behind_star + 1;
    }
  }
}

}  // namespace sluice::rules
