// The pattern of a rule for one tensor: names may hold what patterns take for wildcards. Pure.
#pragma once

#include <string>
#include <string_view>

namespace sluice::rules {

/// A pattern for Request::add() that matches the tensor of this name and no other, unless one is called as the pattern
/// itself.
std::string exact_pattern(std::string_view name);

}  // namespace sluice::rules
