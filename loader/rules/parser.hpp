// Parser: turns the text of a rules file into statements. It judges all that can be judged without values: what stands
// where, and what goes together.
#pragma once

#include <vector>

#include "loader/rules/rules_text.hpp"
#include "loader/rules/scope.hpp"
#include "loader/rules/statement.hpp"

namespace sluice::rules {

/// The statements of `text`, in order. Their names are entered into `symbols`. Throws Error{bad_rules}.
std::vector<Statement> parse(const RulesText& text, Symbols& symbols);

}  // namespace sluice::rules
