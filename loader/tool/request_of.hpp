// What a command line asks of a checkpoint.
#pragma once

#include "loader/tool/arguments.hpp"
#include "sluice/checkpoint.hpp"
#include "sluice/request.hpp"

namespace sluice::tool {

/// What the file of --rules says; without one, the tensors that --select names, or all of them, each to all devices:
/// cut by the first --slice that matches it, or whole. Patterns may overlap, and one --select may equal a --slice.
/// Throws Error{tensor_not_found} for a pattern that matches nothing; its message names the option. Throws what
/// read_rules() throws.
Request request_of(const Arguments& arguments, const Checkpoint& checkpoint);

}  // namespace sluice::tool
