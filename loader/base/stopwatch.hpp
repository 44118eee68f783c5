// Stopwatch: how long something took, in wall-clock time and in processor time (user + system) of the whole process.
#pragma once

#include <chrono>
#include <cstdint>
#include <ctime>

namespace sluice {

/// Nanoseconds of the steady clock since its epoch.
inline std::int64_t steady_now_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

class Stopwatch {
 public:
  std::int64_t begin_ns() const noexcept { return begin_ns_; }
  /// Since it was made.
  double seconds() const noexcept { return static_cast<double>(steady_now_ns() - begin_ns_) * 1e-9; }
  double cpu_seconds() const noexcept { return cpu_now() - cpu_begin_; }

 private:
  static double cpu_now() noexcept {
    timespec now{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
  }

  std::int64_t begin_ns_ = steady_now_ns();
  double cpu_begin_ = cpu_now();
};

}  // namespace sluice
