// Goal: how much the kernel's tests are worth: which slips in the shipped PTX they would let pass.
// Method: every mutant of it (tests/sim/ptx/mutants.hpp) is run in the cases of delivery_cases.hpp until it fails one.
// Those that survive are to have a reason (equivalent_mutants.hpp), and those that have one are to survive. Run by
// hand, in an optimised build, where it takes some minutes of two cores.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/cuda/delivery_mutants.hpp"

namespace sluice {
namespace {

using sim::ptx::Mutation;

std::vector<char> kill(const DeliveryMutants& mutants) {
  std::vector<char> killed(mutants.all().size());
  std::atomic<std::size_t> next = 0;
  std::vector<std::jthread> threads;
  for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i) {
    threads.emplace_back([&] {
      for (std::size_t at = next++; at < killed.size(); at = next++) killed[at] = mutants.kills(mutants.all()[at]);
    });
  }
  threads.clear();
  return killed;
}

struct Count {
  std::size_t killed = 0;
  std::size_t survived = 0;
};

bool report(const DeliveryMutants& mutants, const std::vector<char>& killed) {
  std::map<std::string, Count> kinds;
  std::map<const EquivalentMutants*, Count> rules;
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < killed.size(); ++i) {
    const Mutation& mutation = mutants.all()[i];
    const EquivalentMutants* const rule = mutants.rule(mutation);
    const bool is_killed = killed[i] != 0;
    for (Count* count : {&kinds[mutants.kind(mutation)], &rules[rule]}) ++(is_killed ? count->killed : count->survived);
    if (!is_killed) fmt::print("{}; {}\n", mutants.describe(mutation), rule == nullptr ? "NO RULE" : rule->reason);
    if (is_killed && rule != nullptr) fmt::print("{} is killed; yet: {}\n", mutants.describe(mutation), rule->reason);
    wrong += is_killed == (rule != nullptr) ? 1 : 0;
  }
  fmt::print("\nkilled, survived, by operation and by what becomes of it:\n");
  for (const auto& [kind, count] : kinds) fmt::print("{:6} {:6}  {}\n", count.killed, count.survived, kind);
  fmt::print("\nsurvived, by reason:\n");
  for (const EquivalentMutants& rule : equivalent::rules) {
    fmt::print("{:6}  {}\n", rules[&rule].survived, rule.reason);
    wrong += rules[&rule].survived == 0 ? 1 : 0;
  }
  const auto count = static_cast<std::size_t>(std::count(killed.begin(), killed.end(), 1));
  fmt::print("\n{} mutants: {} are killed, {} survive\n", killed.size(), count, killed.size() - count);
  if (wrong != 0) fmt::print("{} mutants have no rule or one that is too wide, or rules no mutant\n", wrong);
  return wrong == 0;
}

bool run() {
  if (shipped_ptx().empty()) throw std::runtime_error("the library was built without nvcc");
  const DeliveryMutants mutants(shipped_ptx());
  return report(mutants, kill(mutants));
}

}  // namespace
}  // namespace sluice

int main() {
  try {
    return sluice::run() ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print("{}\n", error.what());
    return 1;
  }
}
