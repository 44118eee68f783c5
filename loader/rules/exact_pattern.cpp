#include "loader/rules/exact_pattern.hpp"

namespace sluice::rules {

std::string exact_pattern(std::string_view name) {
  constexpr std::string_view wildcards = "*?[\\";
  // A pattern with a NUL is only ever a name.
  const bool is_itself =
      name.find_first_of(wildcards) == std::string_view::npos || name.find('\0') != std::string_view::npos;
  if (is_itself) return std::string(name);
  std::string pattern;
  for (const char letter : name) {
    if (wildcards.find(letter) != std::string_view::npos) pattern += '\\';
    pattern += letter;
  }
  return pattern;
}

}  // namespace sluice::rules
