// Expansion: carries the statements of a rules file out, once per device: loops run, names are searched for, numbers
// are worked out, and a Request comes of it. The only place that has variables. One thread.
#pragma once

#include <vector>

#include "loader/rules/name_index.hpp"
#include "loader/rules/rules_text.hpp"
#include "loader/rules/scope.hpp"
#include "loader/rules/statement.hpp"
#include "sluice/request.hpp"
#include "sluice/rules.hpp"

namespace sluice::rules {

/// The request of `statements`, which were parsed from `text` and have `symbols`. Throws as read_rules() does.
Request expand(const RulesText& text, const std::vector<Statement>& statements, const Symbols& symbols,
               const NameIndex& names, const RulesOptions& options);

}  // namespace sluice::rules
