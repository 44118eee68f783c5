// Timeline: the times from the start of a program to its first token, part by part. Only the first of each name counts,
// so that code that runs again for each token can mark them.
#pragma once

#include <algorithm>
#include <chrono>
#include <ctime>
#include <string>
#include <vector>

class Timeline {
 public:
  struct Part {
    std::string name;
    double seconds;
  };

  /// To be made first thing in main(). What the program took until then, its loading and linking, nearly all of which
  /// is processor time, is the first part.
  Timeline() {
    timespec used{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    parts_.push_back({"program", static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) / 1e9});
  }

  /// What was done since the last mark was `name`.
  void mark(const std::string& name) {
    const auto now = Clock::now();
    const bool known = std::any_of(parts_.begin(), parts_.end(), [&](const Part& part) { return part.name == name; });
    if (!known) parts_.push_back({name, std::chrono::duration<double>(now - last_).count()});
    last_ = now;
  }

  const std::vector<Part>& parts() const { return parts_; }

 private:
  using Clock = std::chrono::steady_clock;
  std::vector<Part> parts_;
  Clock::time_point last_ = Clock::now();
};
