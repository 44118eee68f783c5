#include "loader/rules/rules_text.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace sluice::rules {

RulesText::RulesText(std::string name, std::string_view text) : name_(std::move(name)), text_(text), lines_{0} {
  for (Place i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') lines_.push_back(i + 1);
  }
}

TextPlace RulesText::said_at(Place place) const {
  const auto behind = std::upper_bound(lines_.begin(), lines_.end(), place);
  const std::string_view before = between(*std::prev(behind), place);
  const auto begins_character = [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0u) != 0x80u; };
  return {static_cast<std::uint32_t>(behind - lines_.begin()),
          static_cast<std::uint32_t>(1 + std::count_if(before.begin(), before.end(), begins_character))};
}

Error::Where RulesText::where(Place place, std::string tensor) const {
  const TextPlace said = said_at(place);
  return {name_, {}, std::move(tensor), said.line, said.column};
}

void RulesText::refuse(Place place, std::string message, std::string hint) const {
  throw Error(ErrorCode::bad_rules, std::move(message), where(place), std::move(hint));
}

}  // namespace sluice::rules
