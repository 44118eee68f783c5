// Faults: what is to fail, and when.
// Threads: under the simulator's lock.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "cuda/driver_api.hpp"

namespace sluice::sim {

class Faults {
 public:
  /// The nth use from now on, by a name for what is used.
  void plan(std::string_view what, std::uint64_t nth, cu::Result result) {
    planned_[std::string(what)][used_[std::string(what)] + nth] = result;
  }

  void forget() { planned_.clear(); }

  /// Counts a use; success, unless it is one that was planned to fail.
  cu::Result use(std::string_view what) {
    const std::uint64_t nth = ++used_[std::string(what)];
    const auto plans = planned_.find(what);
    if (plans == planned_.end()) return cu::Result::success;
    const auto plan = plans->second.find(nth);
    return plan == plans->second.end() ? cu::Result::success : plan->second;
  }

  const std::map<std::string, std::uint64_t, std::less<>>& used() const { return used_; }

 private:
  std::map<std::string, std::uint64_t, std::less<>> used_;
  std::map<std::string, std::map<std::uint64_t, cu::Result>, std::less<>> planned_;
};

}  // namespace sluice::sim
