// Scope: the variables of a rules file while it is worked out: which of its names have which values, and since when.
// Symbols numbers the names. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "loader/rules/rules_text.hpp"

namespace sluice::rules {

class NameIndex;

using Symbol = std::uint32_t;

class Symbols {
 public:
  /// The number of that name, a new one where it has none.
  Symbol enter(std::string_view name);
  const std::string& name(Symbol symbol) const noexcept { return names_[symbol]; }
  std::size_t size() const noexcept { return names_.size(); }
  std::optional<Symbol> find(const std::string& name) const;

 private:
  std::vector<std::string> names_;
  std::unordered_map<std::string, Symbol> by_name_;
};

/// Counts what working a file out costs, against limits::rules_steps_max and rules_max.
class Budget {
 public:
  // What takes longer than a step of an expression, in such steps.
  static constexpr std::uint64_t statement_steps = 16;
  static constexpr std::uint64_t try_steps = 4;  // to match a part of a pattern

  /// Throws Error{limit_exceeded}, at that place, once there were too many.
  void spend_steps(std::uint64_t steps, const RulesText& text, Place place);
  void spend_rule(const RulesText& text, Place place);

 private:
  std::uint64_t steps_ = 0;
  std::uint64_t rules_ = 0;
};

class Scope {
 public:
  /// Who gave a variable its value. What is later in this list takes precedence.
  enum class Giver : std::uint8_t {
    nobody,
    surroundings,  // `use`, and `rank` and `world` out of the devices
    file,          // `let`
    loop,          // `for`, and what a pattern has captured
    caller,        // RulesOptions::values
  };

  /// All of these must outlive it.
  Scope(const RulesText& text, const Symbols& symbols, const NameIndex& names, Budget& budget)
      : text_(text), symbols_(symbols), names_(names), budget_(budget), slots_(symbols.size()) {}

  const RulesText& text() const noexcept { return text_; }
  const Symbols& symbols() const noexcept { return symbols_; }
  const NameIndex& names() const noexcept { return names_; }

  bool knows(Symbol symbol) const noexcept { return slots_[symbol].giver != Giver::nobody; }
  Giver giver_of(Symbol symbol) const noexcept { return slots_[symbol].giver; }
  /// REQUIRES: knows(symbol).
  std::int64_t value_of(Symbol symbol) const noexcept { return slots_[symbol].value; }
  /// Gives a variable a value, until what was bound behind a mark is forgotten.
  void bind(Symbol symbol, std::int64_t value, Giver giver);
  std::size_t mark() const noexcept { return bound_.size(); }
  void forget(std::size_t mark) noexcept;

  void spend_steps(std::uint64_t steps, Place place) const { budget_.spend_steps(steps, text_, place); }
  void spend_rule(Place place) const { budget_.spend_rule(text_, place); }

  /// Throws Error{bad_rules} with the values of loops and captures behind the message.
  [[noreturn]] void refuse(Place place, const std::string& message, std::string hint = {}) const;
  /// That nothing has given `symbol` a value, and which names have one.
  [[noreturn]] void refuse_unknown(Place place, Symbol symbol) const;
  /// " (l = 3, e = 17)", or an empty string.
  std::string in_loops() const;

 private:
  struct Slot {
    std::int64_t value = 0;
    Giver giver = Giver::nobody;
  };
  struct Bound {
    Symbol symbol = 0;
    Slot before;
  };

  const RulesText& text_;
  const Symbols& symbols_;
  const NameIndex& names_;
  Budget& budget_;
  std::vector<Slot> slots_;  // by symbol
  std::vector<Bound> bound_;
};

}  // namespace sluice::rules
