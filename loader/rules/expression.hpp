// Expression: whole numbers worked out of numbers, variables and `+ - * / %`, comparisons, `and or not`, min(a, b),
// max(a, b), default(name, a) and has(name). Parsed once, worked out as often as loops want. What is true is 1, what is
// false 0; any number but 0 is taken for true. Division rounds down, and a remainder has the divisor's sign, as in
// Python. Immutable.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "loader/rules/cursor.hpp"
#include "loader/rules/scope.hpp"

namespace sluice::rules {

class NamePattern;

/// Takes the name of a variable. Throws Error{bad_rules} for anything else, words of the language among them.
Symbol parse_variable(Cursor& cursor, Symbols& symbols);

class Expression {
 public:
  /// Takes the longest expression that is next. Throws Error{bad_rules}.
  static Expression parse(Cursor& cursor, Symbols& symbols);

  /// Throws Error{bad_rules} for a variable without a value, an overflow and a division by zero.
  std::int64_t value(const Scope& scope) const;
  /// The same of what must not be below 0, and may be at most `most`. `what` names it: "a size".
  std::uint64_t count(const Scope& scope, const char* what, std::uint64_t most = INT64_MAX) const;
  bool holds(const Scope& scope) const { return value(scope) != 0; }

  /// Whether every name in it has a value by now.
  bool is_known(const Scope& scope) const noexcept;

  Place place() const noexcept { return place_; }
  /// Whether it is a variable's name and nothing else; `symbol()` is which.
  bool is_name() const noexcept { return code_.size() == 1 && code_[0].what == Step::What::variable; }
  Symbol symbol() const noexcept { return static_cast<Symbol>(code_[0].operand); }

 private:
  friend class ExpressionParser;

  // Steps of a machine with a stack: they are in the order in which they are carried out, so that nothing calls itself
  // however long a file makes an expression.
  struct Step {
    enum class What : std::uint8_t {
      number,    // puts `operand` onto the stack
      variable,  // puts the value of symbol `operand` there
      has,       // whether the checkpoint has names_[operand]
      negate,    // of the topmost
      invert,    // not
      truth,     // 1 or 0
      add,       // of the two topmost, as all that follow
      subtract,
      multiply,
      divide,
      remainder,
      equal,
      unequal,
      less,
      at_most,
      greater,
      at_least,
      least,
      most,
      skip_if_known,  // if symbol `operand` has a value, puts it there and leaves out `skipped` steps
      skip_if_false,  // `and`: if the topmost is 0, leaves out `skipped` steps; else takes it away
      skip_if_true,   // `or`
    };
    What what = What::number;
    Place place = 0;
    std::int64_t operand = 0;
    std::uint32_t skipped = 0;
  };

  std::int64_t computed(const Scope& scope, const Step& step, std::int64_t a, std::int64_t b) const;

  std::vector<Step> code_;
  std::vector<std::shared_ptr<const NamePattern>> names_;  // of has()
  Place place_ = 0;
};

}  // namespace sluice::rules
