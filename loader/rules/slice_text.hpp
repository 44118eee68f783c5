// SliceText: a slice as a rules file writes it: `as [E, 2, F][e % E, 0, :] order (1, 0, 2)`, with expressions for its
// numbers. Immutable.
#pragma once

#include <optional>
#include <vector>

#include "loader/rules/cursor.hpp"
#include "loader/rules/expression.hpp"
#include "loader/rules/scope.hpp"
#include "sluice/slice.hpp"

namespace sluice::rules {

/// Takes `[a, b, c]`, which may be empty.
std::vector<Expression> parse_shape(Cursor& cursor, Symbols& symbols);
/// The numbers of a shape. Throws Error{bad_rules}.
std::vector<std::uint64_t> shape_of(const std::vector<Expression>& sizes, const Scope& scope);

class SliceText {
 public:
  /// Takes the slice that is next, and nothing where none is. Throws Error{bad_rules}.
  static SliceText parse(Cursor& cursor, Symbols& symbols);

  /// Whether nothing was there: the slice of everything.
  bool empty() const noexcept { return !shape_ && brackets_.empty() && !order_; }
  Place place() const noexcept { return place_; }
  Slice slice(const Scope& scope) const;

 private:
  // What brackets say of one dimension.
  struct Index {
    enum class What : std::uint8_t { all, one, range, part };
    What what = What::all;
    std::optional<Expression> first;   // one: the index; range: its begin; part: which
    std::optional<Expression> second;  // range: its end; part: of how many
  };

  static std::vector<Index> parse_brackets(Cursor& cursor, Symbols& symbols);
  static Index parse_index(Cursor& cursor, Symbols& symbols);
  static void cut(Slice& slice, unsigned dimension, const Index& index, const Scope& scope);

  std::optional<std::vector<Expression>> shape_;  // of `as`
  std::vector<std::vector<Index>> brackets_;
  std::optional<std::vector<Expression>> order_;
  Place place_ = 0;
};

}  // namespace sluice::rules
