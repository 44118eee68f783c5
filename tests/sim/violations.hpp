// Violations: what the simulator found wrong with the program. Each is kept, or ends the process at once.
// Threads: under the simulator's lock.
#pragma once

#include <string>
#include <vector>

#include "tests/sim/control.hpp"

namespace sluice::sim {

class Violations {
 public:
  explicit Violations(bool abort_at_once) : abort_at_once_(abort_at_once) {}

  void add(Rule rule, std::string message);
  const std::vector<Violation>& all() const { return all_; }
  std::vector<Violation> take();
  /// At the end of the process: prints what nobody took, and aborts if there was any.
  void abort_if_any() const;

 private:
  bool abort_at_once_;
  std::vector<Violation> all_;
};

}  // namespace sluice::sim
