// Stopwatch: how long something took, by the clock on the wall and in processor time (user + system) of the whole
// process.
#pragma once

#include <chrono>
#include <ctime>

namespace sluice {

class Stopwatch {
 public:
  /// Since it was made.
  double seconds() const noexcept {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }
  double cpu_seconds() const noexcept { return cpu_now() - cpu_begin_; }

 private:
  static double cpu_now() noexcept {
    timespec now{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
  }

  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  double cpu_begin_ = cpu_now();
};

}  // namespace sluice
