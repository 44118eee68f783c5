#include "loader/rules/scope.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "loader/base/limits.hpp"

namespace sluice::rules {
namespace {

// Names that a message lists; a configuration has some fifty.
constexpr std::size_t listed_names_max = 24;

[[noreturn]] void refuse_limit(const RulesText& text, Place place, std::string message, std::string hint) {
  throw Error(ErrorCode::limit_exceeded, std::move(message), text.where(place), std::move(hint));
}

}  // namespace

Symbol Symbols::enter(std::string_view name) {
  const auto [found, is_new] = by_name_.try_emplace(std::string(name), static_cast<Symbol>(names_.size()));
  if (is_new) names_.emplace_back(name);
  return found->second;
}

std::optional<Symbol> Symbols::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? std::nullopt : std::optional(found->second);
}

void Budget::spend_steps(std::uint64_t steps, const RulesText& text, Place place) {
  steps_ += steps;
  if (steps_ <= limits::rules_steps_max) return;
  refuse_limit(text, place,
               fmt::format("working the file out takes more than {} steps (rules_steps_max in sluice/limits.hpp)",
                           limits::rules_steps_max),
               "begin patterns with what names begin with, and let loops end sooner");
}

void Budget::spend_rule(const RulesText& text, Place place) {
  if (++rules_ <= limits::rules_max) return;
  refuse_limit(text, place,
               fmt::format("the file works out to more than {} rules and destinations (rules_max in sluice/limits.hpp)",
                           limits::rules_max),
               "load fewer devices at a time");
}

void Scope::bind(Symbol symbol, std::int64_t value, Giver giver) {
  bound_.push_back({symbol, slots_[symbol]});
  slots_[symbol] = {value, giver};
}

void Scope::forget(std::size_t mark) noexcept {
  for (; bound_.size() > mark; bound_.pop_back()) slots_[bound_.back().symbol] = bound_.back().before;
}

std::string Scope::in_loops() const {
  std::string all;
  for (const Bound& bound : bound_) {
    if (giver_of(bound.symbol) != Giver::loop) continue;
    all += fmt::format("{}{} = {}", all.empty() ? " (" : ", ", symbols_.name(bound.symbol), value_of(bound.symbol));
  }
  return all.empty() ? all : all + ")";
}

void Scope::refuse(Place place, const std::string& message, std::string hint) const {
  text_.refuse(place, message + in_loops(), std::move(hint));
}

void Scope::refuse_unknown(Place place, Symbol symbol) const {
  const std::string& name = symbols_.name(symbol);
  std::vector<std::string_view> known;
  for (Symbol other = 0; other < symbols_.size(); ++other) {
    if (knows(other)) known.push_back(symbols_.name(other));
  }
  std::sort(known.begin(), known.end());
  std::string listed;
  for (std::size_t i = 0; i < std::min(known.size(), listed_names_max); ++i) {
    listed += fmt::format("{}{}", i == 0 ? "" : ", ", known[i]);
  }
  if (known.size() > listed_names_max) listed += ", ...";
  std::string hint =
      fmt::format("give it a value with let, with --set {}=..., or with use and a file that has it", name);
  if (name == "rank" || name == "world") {
    hint = fmt::format("the other of rank and world was given: give {}, too, as with --set {}=...", name, name);
  }
  refuse(place,
         fmt::format("nothing gives '{}' a value; {}", name,
                     known.empty() ? "no name has one here" : fmt::format("these have one: {}", listed)),
         std::move(hint));
}

}  // namespace sluice::rules
