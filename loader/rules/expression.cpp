#include "loader/rules/expression.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <string_view>
#include <utility>

#include "loader/base/limits.hpp"
#include "loader/rules/name_index.hpp"
#include "loader/rules/name_pattern.hpp"

namespace sluice::rules {
namespace {

// What an expression may hold at a time, of operands that wait for others.
constexpr std::uint32_t operands_max = 256;

// Words that cannot be variables.
constexpr std::array<std::string_view, 19> reserved = {"and",   "or",    "not",      "min",  "max",  "default", "has",
                                                       "part",  "of",    "as",       "in",   "when", "cast",    "on",
                                                       "group", "order", "optional", "skip", "let"};

std::int64_t floor_division(std::int64_t a, std::int64_t b) noexcept {
  const std::int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

// Takes a name; `what` is what is expected.
Symbol take_name(Cursor& cursor, Symbols& symbols, std::string_view what) {
  const Place place = cursor.place();
  const std::string_view word = cursor.expect_word(what);
  if (std::find(reserved.begin(), reserved.end(), word) != reserved.end()) {
    cursor.text().refuse(place, fmt::format("found '{}' where {} is expected", word, what),
                         fmt::format("'{}' is a word of the language, and no name", word));
  }
  return symbols.enter(word);
}

bool matches_any(const NamePattern& pattern, const Scope& scope) {
  const NameMatcher matcher = pattern.matcher(scope);
  if (matcher.is_exact()) return scope.names().find(matcher.head()).has_value();
  std::vector<std::int64_t> captured;
  for (const std::uint32_t number : scope.names().beginning_with(matcher.head())) {
    std::uint64_t tries = 1;
    const bool matches = matcher.matches(scope.names().tensor(number).name, captured, tries);
    scope.spend_steps(tries * Budget::try_steps, pattern.place());
    if (matches) return true;
  }
  return false;
}

}  // namespace

class ExpressionParser {
 public:
  ExpressionParser(Cursor& cursor, Symbols& symbols) : cursor_(cursor), symbols_(symbols) {}

  Expression run() && {
    expression_.place_ = cursor_.place();
    parse_or();
    return std::move(expression_);
  }

 private:
  using Step = Expression::Step;
  using What = Step::What;

  void parse_or() {
    const Cursor::Nesting nesting(cursor_);
    parse_and();
    while (cursor_.take_word("or")) parse_second(What::skip_if_true, [this] { parse_and(); });
  }

  void parse_and() {
    parse_not();
    while (cursor_.take_word("and")) parse_second(What::skip_if_false, [this] { parse_not(); });
  }

  // The second operand of `and` or `or`, which is worked out only if the first does not decide.
  template <typename Parse>
  void parse_second(What skip, const Parse& parse) {
    const std::size_t first = add({skip, cursor_.here(), 0, 0});
    --depth_;
    parse();
    expression_.code_[first].skipped = static_cast<std::uint32_t>(expression_.code_.size() - first - 1);
    add({What::truth, cursor_.here(), 0, 0});
  }

  void parse_not() {
    const Place place = cursor_.place();
    if (!cursor_.take_word("not")) return parse_comparison();
    const Cursor::Nesting nesting(cursor_);
    parse_not();
    add({What::invert, place, 0, 0});
  }

  bool take_comparison(What& what) {
    constexpr std::array<std::pair<std::string_view, What>, 6> comparisons = {{{"==", What::equal},
                                                                               {"!=", What::unequal},
                                                                               {"<=", What::at_most},
                                                                               {">=", What::at_least},
                                                                               {"<", What::less},
                                                                               {">", What::greater}}};
    for (const auto& [symbol, its] : comparisons) {
      if (!cursor_.take(symbol)) continue;
      what = its;
      return true;
    }
    return false;
  }

  void parse_comparison() {
    parse_sum();
    const Place place = cursor_.place();
    What what{};
    if (!take_comparison(what)) return;
    parse_sum();
    add_binary(what, place);
    const Place second = cursor_.place();
    if (take_comparison(what)) {
      cursor_.text().refuse(second, "a second comparison follows the first", "join two comparisons with and");
    }
  }

  void parse_sum() {
    parse_product();
    for (;;) {
      const Place place = cursor_.place();
      if (cursor_.take("+")) {
        parse_product();
        add_binary(What::add, place);
      } else if (!cursor_.sees("->") && cursor_.take("-")) {
        parse_product();
        add_binary(What::subtract, place);
      } else {
        return;
      }
    }
  }

  void parse_product() {
    parse_unary();
    for (;;) {
      const Place place = cursor_.place();
      What what{};
      if (cursor_.take("*")) {
        what = What::multiply;
      } else if (cursor_.take("/")) {
        what = What::divide;
      } else if (cursor_.take("%")) {
        what = What::remainder;
      } else {
        return;
      }
      parse_unary();
      add_binary(what, place);
    }
  }

  void parse_unary() {
    const Place place = cursor_.place();
    if (cursor_.sees("->") || !cursor_.take("-")) return parse_operand();
    const Cursor::Nesting nesting(cursor_);
    parse_unary();
    add({What::negate, place, 0, 0});
  }

  void parse_operand() {
    const Place place = cursor_.place();
    if (cursor_.at_number()) return add_operand({What::number, place, cursor_.number(), 0});
    if (cursor_.take("(")) {
      parse_or();
      return cursor_.expect(")", "')' or an operator");
    }
    if (cursor_.take_word("min")) return parse_two(What::least, place);
    if (cursor_.take_word("max")) return parse_two(What::most, place);
    if (cursor_.take_word("has")) return parse_has(place);
    if (cursor_.take_word("default")) return parse_default(place);
    add_operand({What::variable, place, take_name(cursor_, symbols_, "a number, a name or '('"), 0});
  }

  void parse_two(What what, Place place) {
    cursor_.expect("(", "'('");
    parse_or();
    cursor_.expect(",", "',' and a second number");
    parse_or();
    cursor_.expect(")", "')'");
    add_binary(what, place);
  }

  void parse_has(Place place) {
    const Cursor::Nesting nesting(cursor_);
    cursor_.expect("(", "'(' and a tensor's name");
    expression_.names_.push_back(
        std::make_shared<const NamePattern>(NamePattern::parse(cursor_, symbols_, "a tensor's name")));
    cursor_.expect(")", "')'");
    add_operand({What::has, place, static_cast<std::int64_t>(expression_.names_.size() - 1), 0});
  }

  void parse_default(Place place) {
    cursor_.expect("(", "'(' and a name");
    const Symbol symbol = parse_variable(cursor_, symbols_);
    cursor_.expect(",", "',' and what stands for the name where it has no value");
    const std::size_t first = add({What::skip_if_known, place, symbol, 0});
    parse_or();
    cursor_.expect(")", "')'");
    expression_.code_[first].skipped = static_cast<std::uint32_t>(expression_.code_.size() - first - 1);
  }

  std::size_t add(const Step& step) {
    expression_.code_.push_back(step);
    return expression_.code_.size() - 1;
  }
  void add_operand(const Step& step) {
    add(step);
    if (++depth_ > operands_max) {
      throw Error(ErrorCode::limit_exceeded, "the expression holds too many operands at a time",
                  cursor_.text().where(step.place), "say it in steps, with let");
    }
  }
  void add_binary(What what, Place place) {
    add({what, place, 0, 0});
    --depth_;
  }

  Cursor& cursor_;
  Symbols& symbols_;
  Expression expression_;
  std::uint32_t depth_ = 0;  // of the stack, where the code ends
};

Symbol parse_variable(Cursor& cursor, Symbols& symbols) {
  return take_name(cursor, symbols, "the name of a variable");
}

Expression Expression::parse(Cursor& cursor, Symbols& symbols) {
  return ExpressionParser(cursor, symbols).run();
}

std::int64_t Expression::computed(const Scope& scope, const Step& step, std::int64_t a, std::int64_t b) const {
  std::int64_t result = 0;
  bool overflow = false;
  switch (step.what) {
    case Step::What::add:
      overflow = __builtin_add_overflow(a, b, &result);
      break;
    case Step::What::subtract:
      overflow = __builtin_sub_overflow(a, b, &result);
      break;
    case Step::What::multiply:
      overflow = __builtin_mul_overflow(a, b, &result);
      break;
    case Step::What::divide:
    case Step::What::remainder:
      if (b == 0) scope.refuse(step.place, fmt::format("{} is divided by 0", a), "give the divisor another value");
      if (b == -1) {
        overflow = step.what == Step::What::divide && __builtin_sub_overflow(std::int64_t{0}, a, &result);
      } else {
        result = step.what == Step::What::divide ? floor_division(a, b) : a - floor_division(a, b) * b;
      }
      break;
    case Step::What::equal:
      return a == b;
    case Step::What::unequal:
      return a != b;
    case Step::What::less:
      return a < b;
    case Step::What::at_most:
      return a <= b;
    case Step::What::greater:
      return a > b;
    case Step::What::at_least:
      return a >= b;
    case Step::What::least:
      return std::min(a, b);
    default:
      return std::max(a, b);
  }
  if (overflow) scope.refuse(step.place, fmt::format("the result for {} and {} has more than 64 bits", a, b));
  return result;
}

std::int64_t Expression::value(const Scope& scope) const {
  scope.spend_steps(code_.size(), place_);
  std::array<std::int64_t, operands_max + 1> stack;
  std::size_t size = 0;
  for (std::size_t i = 0; i < code_.size(); ++i) {
    const Step& step = code_[i];
    const auto symbol = static_cast<Symbol>(step.operand);
    switch (step.what) {
      case Step::What::number:
        stack[size++] = step.operand;
        break;
      case Step::What::variable:
        if (!scope.knows(symbol)) scope.refuse_unknown(step.place, symbol);
        stack[size++] = scope.value_of(symbol);
        break;
      case Step::What::has:
        stack[size++] = matches_any(*names_[static_cast<std::size_t>(step.operand)], scope);
        break;
      case Step::What::negate:
        stack[size - 1] = computed(scope, {Step::What::subtract, step.place, 0, 0}, 0, stack[size - 1]);
        break;
      case Step::What::invert:
        stack[size - 1] = stack[size - 1] == 0;
        break;
      case Step::What::truth:
        stack[size - 1] = stack[size - 1] != 0;
        break;
      case Step::What::skip_if_known:
        if (!scope.knows(symbol)) break;
        stack[size++] = scope.value_of(symbol);
        i += step.skipped;
        break;
      case Step::What::skip_if_false:
      case Step::What::skip_if_true:
        if ((stack[size - 1] != 0) == (step.what == Step::What::skip_if_true)) {
          i += step.skipped;
        } else {
          --size;
        }
        break;
      default:
        --size;
        stack[size - 1] = computed(scope, step, stack[size - 1], stack[size]);
    }
  }
  return stack[0];
}

bool Expression::is_known(const Scope& scope) const noexcept {
  const auto knows = [&](const Step& step) {
    return step.what != Step::What::variable || scope.knows(static_cast<Symbol>(step.operand));
  };
  return std::all_of(code_.begin(), code_.end(), knows) &&
         std::all_of(names_.begin(), names_.end(), [&](const auto& name) { return name->is_known(scope); });
}

std::uint64_t Expression::count(const Scope& scope, const char* what, std::uint64_t most) const {
  const std::int64_t number = value(scope);
  if (number < 0 || static_cast<std::uint64_t>(number) > most) {
    scope.refuse(place_, fmt::format("{} is {}, which is not from 0 to {}", what, number, most));
  }
  return static_cast<std::uint64_t>(number);
}

}  // namespace sluice::rules
