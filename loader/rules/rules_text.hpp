// RulesText: a rules file as it was read, and who says what is wrong in it, and where. A place is an offset in bytes.
// Immutable; it must outlive what is parsed from it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sluice/destination.hpp"
#include "sluice/error.hpp"

namespace sluice::rules {

using Place = std::uint32_t;

class RulesText {
 public:
  /// `name`: what messages call it. REQUIRES: `text` has at most limits::rules_bytes_max bytes.
  RulesText(std::string name, std::string_view text);

  const std::string& name() const noexcept { return name_; }
  std::string_view text() const noexcept { return text_; }
  std::string_view between(Place begin, Place end) const noexcept { return text_.substr(begin, end - begin); }

  /// Line and column of a place, both from 1 on; columns count characters.
  TextPlace said_at(Place place) const;
  Error::Where where(Place place, std::string tensor = {}) const;
  std::uint32_t line_of(Place place) const { return said_at(place).line; }

  /// Throws Error{bad_rules}.
  [[noreturn]] void refuse(Place place, std::string message, std::string hint = {}) const;

 private:
  const std::string name_;
  const std::string_view text_;
  std::vector<Place> lines_;  // where each begins
};

}  // namespace sluice::rules
