#include "loader/rules/parser.hpp"

#include <fmt/format.h>

#include <memory>
#include <string_view>
#include <utility>

#include "loader/rules/cursor.hpp"

namespace sluice::rules {
namespace {

constexpr std::string_view dtypes_that_cast = "F64, F32, F16, BF16, F8_E4M3 or F8_E5M2";

class Parser {
 public:
  Parser(const RulesText& text, Symbols& symbols) : cursor_(text), symbols_(symbols) {}

  std::vector<Statement> run() && {
    while (cursor_.next_line()) {
      place_ = cursor_.place();
      parse_line();
      if (!cursor_.at_end()) cursor_.refuse("the end of the line");
    }
    if (!loops_.empty())
      refuse(statements_[loops_.back().first].place, "the loop has no end", "close it with a line 'end'");
    return std::move(statements_);
  }

 private:
  void parse_line() {
    if (cursor_.take_keyword("use")) return add(parse_use());
    if (cursor_.take_keyword("let")) return add(parse_let());
    if (cursor_.take_keyword("strict")) {
      refuse_in_loop("'strict'");
      return add(StrictLine());
    }
    if (cursor_.take_keyword("for")) return parse_for();
    if (cursor_.take_keyword("end")) return parse_end();
    if (cursor_.take_keyword("tensor")) return add(parse_tensor());
    add(parse_rule());
  }

  template <typename Line>
  void add(Line&& line) {
    statements_.push_back({place_, std::forward<Line>(line)});
  }

  [[noreturn]] void refuse(Place place, std::string message, std::string hint = {}) const {
    cursor_.text().refuse(place, std::move(message), std::move(hint));
  }
  void refuse_in_loop(std::string_view what) const {
    if (!loops_.empty()) refuse(place_, fmt::format("{} in a loop", what), "write it before the first 'for'");
  }

  UseLine parse_use() {
    refuse_in_loop("'use'");
    UseLine use;
    const Place place = cursor_.place();
    use.file = cursor_.sees("\"") ? cursor_.quoted() : std::string(cursor_.bare());
    if (use.file.empty()) cursor_.refuse("the name of a file, as config.json");
    if (use.file.find('/') != std::string::npos || use.file == ".." || use.file.find('\0') != std::string::npos) {
      refuse(place, fmt::format("'{}' is no name of a file beside the checkpoint", use.file),
             "give other numbers with let or --set");
    }
    while (!cursor_.at_end()) {
      if (cursor_.take_word("optional")) {
        use.optional = true;
        break;
      }
      use.keys.emplace_back(cursor_.sees("\"")
                                ? cursor_.quoted()
                                : std::string(cursor_.expect_word("a key, 'optional' or the end of the line")));
    }
    return use;
  }

  LetLine parse_let() {
    LetLine let;
    do {
      LetLine::Variable variable;
      variable.place = cursor_.place();
      variable.symbol = parse_variable(cursor_, symbols_);
      if (cursor_.sees("==")) cursor_.refuse("'='");
      cursor_.expect("=", "'='");
      variable.value = Expression::parse(cursor_, symbols_);
      let.variables.push_back(std::move(variable));
    } while (cursor_.take(","));
    return let;
  }

  void parse_for() {
    ForLine loop;
    loop.symbol = parse_variable(cursor_, symbols_);
    if (!cursor_.take_word("in")) cursor_.refuse("'in'");
    loop.begin = Expression::parse(cursor_, symbols_);
    cursor_.expect("..", "'..' or an operator");
    loop.end = Expression::parse(cursor_, symbols_);
    loops_.push_back({statements_.size(), std::make_unique<Cursor::Nesting>(cursor_)});
    add(std::move(loop));
  }

  void parse_end() {
    if (loops_.empty()) refuse(place_, "an 'end' without a 'for'", "a tensor of the name \"end\" stands in quotes");
    add(EndLine());
    std::get<ForLine>(statements_[loops_.back().first].line).behind = statements_.size();
    loops_.pop_back();
  }

  Dtype parse_dtype_word() {
    const Place place = cursor_.place();
    const std::string_view word = cursor_.expect_word("a dtype, as BF16");
    const std::optional<Dtype> dtype = parse_dtype(word);
    if (!dtype)
      refuse(place, fmt::format("'{}' is no dtype", word), "write it as safetensors does: BF16, F32, F8_E4M3, I32, U8");
    return *dtype;
  }

  TensorLine parse_tensor() {
    TensorLine tensor;
    tensor.name = NamePattern::parse(cursor_, symbols_, "the name of a destination");
    tensor.name.refuse_star(cursor_.text(), "a destination");
    tensor.dtype = parse_dtype_word();
    tensor.shape = parse_shape(cursor_, symbols_);
    while (!cursor_.at_end()) {
      const Place place = cursor_.place();
      if (cursor_.take_word("group")) {
        once(tensor.group.has_value(), place, "'group'");
        tensor.group = Expression::parse(cursor_, symbols_);
      } else if (cursor_.take_word("when")) {
        once(tensor.when.has_value(), place, "'when'");
        tensor.when = Expression::parse(cursor_, symbols_);
      } else if (cursor_.take_word("on")) {
        once(tensor.device.has_value(), place, "'on'");
        tensor.device = parse_device();
      } else if (cursor_.take_word("zero")) {
        once(tensor.unwritten != Destination::Unwritten::refused, place, "'zero' or 'keep'");
        tensor.unwritten = Destination::Unwritten::zero;
      } else if (cursor_.take_word("keep")) {
        once(tensor.unwritten != Destination::Unwritten::refused, place, "'zero' or 'keep'");
        tensor.unwritten = Destination::Unwritten::kept;
      } else {
        cursor_.refuse("'group', 'zero', 'keep', 'on', 'when' or the end of the line");
      }
    }
    return tensor;
  }

  NamePattern parse_device() {
    NamePattern device = NamePattern::parse(cursor_, symbols_, "a device, as cuda:0");
    device.refuse_star(cursor_.text(), "a device");
    return device;
  }

  void once(bool already, Place place, std::string_view what) const {
    if (already) refuse(place, fmt::format("a second {}", what));
  }

  RuleLine parse_rule() {
    RuleLine rule;
    do {
      rule.names.push_back(
          NamePattern::parse(cursor_, symbols_, "'use', 'let', 'strict', 'for', 'end', 'tensor' or a tensor's name"));
    } while (cursor_.take("|"));
    rule.from = SliceText::parse(cursor_, symbols_);
    if (cursor_.sees("|")) {
      refuse(cursor_.place(), "another name behind a slice",
             "the slice is the same for all: write it behind the last name");
    }
    while (!cursor_.at_end()) parse_option(rule);
    check(rule);
    return rule;
  }

  void parse_option(RuleLine& rule) {
    const Place place = cursor_.place();
    if (cursor_.take("->")) {
      once(rule.destination.has_value(), place, "'->'");
      rule.destination = NamePattern::parse(cursor_, symbols_, "the name of a destination");
      rule.destination->refuse_star(cursor_.text(), "a destination");
      rule.into = SliceText::parse(cursor_, symbols_);
    } else if (cursor_.take_word("cast")) {
      once(rule.cast.has_value(), place, "'cast'");
      rule.cast = parse_cast();
    } else if (cursor_.take_word("group")) {
      once(rule.group.has_value(), place, "'group'");
      rule.group = Expression::parse(cursor_, symbols_);
      group_ = place;
    } else if (cursor_.take_word("when")) {
      once(rule.when.has_value(), place, "'when'");
      rule.when = Expression::parse(cursor_, symbols_);
    } else if (cursor_.take_word("on")) {
      once(rule.device.has_value(), place, "'on'");
      rule.device = parse_device();
    } else if (cursor_.take_word("skip")) {
      once(rule.skip, place, "'skip'");
      rule.skip = true;
      skip_ = place;
    } else if (cursor_.take_word("optional")) {
      once(rule.optional, place, "'optional'");
      rule.optional = true;
    } else {
      cursor_.refuse("'->', 'cast', 'group', 'when', 'on', 'skip', 'optional' or the end of the line");
    }
  }

  Dtype parse_cast() {
    const Place place = cursor_.place();
    const Dtype dtype = parse_dtype_word();
    if (!is_castable(dtype)) {
      refuse(place, fmt::format("nothing is cast to {}", name(dtype)), fmt::format("cast to {}", dtypes_that_cast));
    }
    return dtype;
  }

  // What does not go together.
  void check(const RuleLine& rule) const {
    if (rule.skip && (rule.destination || rule.cast || rule.group || !rule.from.empty())) {
      refuse(skip_, "the rule skips what it also delivers", "use two rules");
    }
    if (rule.destination && rule.group) {
      refuse(group_, "'group' beside '->'", "a destination has a group of its own: write it behind 'tensor'");
    }
  }

  // A loop that is not closed: the number of its `for`.
  struct Loop {
    std::size_t first = 0;
    std::unique_ptr<Cursor::Nesting> nesting;
  };

  Cursor cursor_;
  Symbols& symbols_;
  std::vector<Statement> statements_;
  std::vector<Loop> loops_;
  Place place_ = 0;  // of the line
  Place group_ = 0;  // of what the line says
  Place skip_ = 0;
};

}  // namespace

std::vector<Statement> parse(const RulesText& text, Symbols& symbols) {
  return Parser(text, symbols).run();
}

}  // namespace sluice::rules
