#include "loader/rules/first_matches.hpp"

#include "loader/plan/access.hpp"
#include "loader/plan/selection.hpp"
#include "loader/rules/exact_pattern.hpp"

namespace sluice::rules {

std::vector<std::uint32_t> first_matches(const Checkpoint& checkpoint, const std::vector<std::string>& patterns) {
  const auto tensors = checkpoint.tensors();
  std::vector<std::uint32_t> first(tensors.size(), Selection::none);
  for (std::uint32_t number = 0; number < patterns.size(); ++number) {
    // A name needs no search: there may be as many as tensors.
    if (const TensorInfo* exact = checkpoint.find(patterns[number]); exact != nullptr) {
      std::uint32_t& its = first[static_cast<std::size_t>(exact - tensors.data())];
      if (its == Selection::none) its = number;
      if (exact_pattern(patterns[number]) == patterns[number]) continue;
    }
    Request alone;
    alone.add(patterns[number]);
    Findings findings;
    const Selection selection = select(*Access::catalogue(checkpoint), alone, findings);
    findings.throw_first();
    for (std::size_t i = 0; i < first.size(); ++i) {
      if (first[i] == Selection::none && selection.rule_of[i] != Selection::none) first[i] = number;
    }
  }
  return first;
}

}  // namespace sluice::rules
