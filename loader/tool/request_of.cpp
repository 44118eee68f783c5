#include "loader/tool/request_of.hpp"

#include <string>
#include <vector>

#include "loader/plan/selection.hpp"
#include "loader/rules/exact_pattern.hpp"
#include "loader/rules/first_matches.hpp"
#include "sluice/error.hpp"
#include "sluice/rules.hpp"

namespace sluice::tool {
namespace {

// As rules::first_matches(), whose error names the option.
std::vector<std::uint32_t> first_matches(const Arguments& arguments, const Checkpoint& checkpoint,
                                         const std::vector<std::string>& patterns, const std::string& option) {
  try {
    return rules::first_matches(checkpoint, patterns);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::tensor_not_found) throw;
    const bool suggests = error.hint().starts_with("did you mean");
    throw Error(error.code(), "no tensor matches " + option, {error.path(), error.offset(), error.tensor()},
                suggests ? error.hint() : "`sluice inspect " + arguments.path.string() + "` lists the names");
  }
}

void cut(Rule& rule, const SliceArgument& slice) {
  if (slice.part) {
    rule.take(part(slice.dimension, slice.part->first, slice.part->second));
  } else {
    rule.split(slice.dimension);
  }
}

Request tensors_of(const Arguments& arguments, const Checkpoint& checkpoint) {
  if (!arguments.rules.empty()) return read_rules(arguments.rules, checkpoint, {arguments.values, arguments.devices});
  Request request;
  request.devices = arguments.devices;
  const auto add = [&](std::string pattern) -> Rule& {
    Rule& rule = request.add(std::move(pattern)).optional();
    if (arguments.dtype) rule.cast(*arguments.dtype);
    return rule;
  };
  std::vector<std::string> globs;
  for (const SliceArgument& slice : arguments.slices) globs.push_back(slice.glob);
  const std::vector<std::uint32_t> slices =
      globs.empty() ? std::vector<std::uint32_t>() : first_matches(arguments, checkpoint, globs, "--slice");
  if (arguments.selects.empty()) {
    for (std::size_t i = 0; i < arguments.slices.size(); ++i) {
      // Of two slices of one pattern the first decides.
      Rule& rule = add(arguments.slices[i].glob);
      if (rule.taken() == nullptr && !rule.split()) cut(rule, arguments.slices[i]);
    }
    add("*");  // a checkpoint without tensors is loaded as such
    return request;
  }
  const std::vector<std::uint32_t> selects = first_matches(arguments, checkpoint, arguments.selects, "--select");
  if (globs.empty()) {
    for (const std::string& pattern : arguments.selects) add(pattern);
    return request;
  }
  for (std::size_t i = 0; i < selects.size(); ++i) {
    if (selects[i] == Selection::none) continue;
    Rule& rule = add(rules::exact_pattern(checkpoint.tensors()[i].name));
    if (slices[i] != Selection::none) cut(rule, arguments.slices[slices[i]]);
  }
  return request;
}

}  // namespace

Request request_of(const Arguments& arguments, const Checkpoint& checkpoint) {
  Request request = tensors_of(arguments, checkpoint);
  request.budget_bytes = arguments.budget_bytes;
  return request;
}

}  // namespace sluice::tool
