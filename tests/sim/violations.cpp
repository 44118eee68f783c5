#include "tests/sim/violations.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace sluice::sim {

std::string_view name(Rule rule) {
  switch (rule) {
    case Rule::out_of_bounds:
      return "out of bounds";
    case Rule::freed:
      return "freed memory";
    case Rule::foreign:
      return "foreign memory";
    case Rule::no_access:
      return "no access";
    case Rule::bad_mapping:
      return "bad mapping";
    case Rule::undefined:
      return "undefined memory";
    case Rule::misaligned:
      return "misaligned";
    case Rule::not_pinned:
      return "not pinned";
    case Rule::overwritten:
      return "overwritten";
    case Rule::race:
      return "race";
    case Rule::in_use:
      return "in use";
    case Rule::broken_guard:
      return "broken guard";
    case Rule::bad_handle:
      return "bad handle";
    case Rule::bad_kernel:
      return "bad kernel";
    case Rule::released_early:
      return "released early";
    case Rule::leak:
      return "leak";
  }
  return "unknown";
}

void Violations::add(Rule rule, std::string message) {
  all_.push_back({rule, std::move(message)});
  if (abort_at_once_) abort_if_any();
}

std::vector<Violation> Violations::take() {
  return std::exchange(all_, {});
}

void Violations::abort_if_any() const {
  if (all_.empty()) return;
  for (const Violation& violation : all_) {
    fmt::print(stderr, "simulated CUDA driver: {}: {}\n", name(violation.rule), violation.message);
  }
  std::abort();
}

}  // namespace sluice::sim
