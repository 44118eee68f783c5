// Which of several patterns decides each tensor: for callers who have lists of names and globs, as the command line and
// Python do. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sluice/checkpoint.hpp"

namespace sluice::rules {

/// The index of the first of `patterns` that matches, by tensor, or Selection::none. Throws Error{tensor_not_found} for
/// a pattern that matches none, and Error{invalid_argument} for one that is none.
std::vector<std::uint32_t> first_matches(const Checkpoint& checkpoint, const std::vector<std::string>& patterns);

}  // namespace sluice::rules
