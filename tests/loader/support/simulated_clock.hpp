// SimulatedClock: time that passes only where nobody could do anything without it. Whatever is said to take time sleeps
// by it, on a worker; the test's own thread, which runs the engine, lets it pass when the engine has nothing to do,
// once it has settled(): each worker sleeps, or has nothing to do. So no order of threads changes what a load takes.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <set>

#include "loader/base/workers.hpp"

namespace sluice {

class SimulatedClock {
 public:
  std::int64_t now_ns() const {
    const std::lock_guard lock(mutex_);
    return now_ns_;
  }
  /// Not on the thread that lets time pass.
  void sleep(std::int64_t ns) {
    std::unique_lock lock(mutex_);
    const std::int64_t end = now_ns_ + ns;
    const auto sleeper = ends_.insert(end);
    changed_.notify_all();
    while (now_ns_ < end) changed_.wait(lock);
    ends_.erase(sleeper);
  }
  /// When the first of those that sleep wakes.
  std::optional<std::int64_t> next_ns() const {
    const std::lock_guard lock(mutex_);
    return ends_.empty() ? std::nullopt : std::optional(*ends_.begin());
  }
  void advance_to(std::int64_t now_ns) {
    const std::lock_guard lock(mutex_);
    now_ns_ = std::max(now_ns_, now_ns);
    changed_.notify_all();
  }

  /// Returns when each thread of these sleeps, or has nothing to do. REQUIRES: nobody else sleeps.
  void settle(std::initializer_list<Workers*> all) {
    // Each of them comes to the gate, or sleeps: then it opens, also for those that come later.
    struct Gate {
      std::size_t arrived = 0;
      bool open = false;
    };
    const auto gate = std::make_shared<Gate>();
    std::size_t threads = 0;
    for (Workers* const workers : all) {
      for (std::size_t i = 0; i < workers->count(); ++i) {
        workers->run([this, gate] {
          std::unique_lock lock(mutex_);
          ++gate->arrived;
          changed_.notify_all();
          while (!gate->open) changed_.wait(lock);
        });
      }
      threads += workers->count();
    }
    std::unique_lock lock(mutex_);
    const auto asleep = [this] {
      return static_cast<std::size_t>(std::distance(ends_.upper_bound(now_ns_), ends_.end()));
    };
    while (gate->arrived + asleep() < threads) changed_.wait(lock);
    gate->open = true;
    changed_.notify_all();
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::int64_t now_ns_ = 0;
  std::multiset<std::int64_t> ends_;  // of those that sleep, or are about to wake
};

}  // namespace sluice
