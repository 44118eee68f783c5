#include "loader/rules/rules_text.hpp"

#include <algorithm>

namespace sluice::rules {

Error::Where RulesText::where(Place place, std::string tensor) const {
  const std::string_view before = text_.substr(0, place);
  const auto line = static_cast<std::uint32_t>(1 + std::count(before.begin(), before.end(), '\n'));
  const std::size_t newline = before.rfind('\n');
  const std::string_view in_line = newline == std::string_view::npos ? before : before.substr(newline + 1);
  const auto begins_character = [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0u) != 0x80u; };
  const auto column = static_cast<std::uint32_t>(1 + std::count_if(in_line.begin(), in_line.end(), begins_character));
  return {name_, {}, std::move(tensor), line, column};
}

void RulesText::refuse(Place place, std::string message, std::string hint) const {
  throw Error(ErrorCode::bad_rules, std::move(message), where(place), std::move(hint));
}

}  // namespace sluice::rules
