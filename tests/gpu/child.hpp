// run_child(): a process with an end: what it wrote, how it ended, killed with all of its own when its time is over.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace sluice::gpu_check {

struct Child {
  std::vector<std::string> command;                                   // the first is a path
  std::vector<std::pair<std::string, std::string>> environment = {};  // beside what this process has
  double seconds_max = 120;
};

struct Ended {
  int status = 0;  // of exit, 128 + the signal, or 127 where it cannot be run
  bool in_time = true;
  double seconds = 0;
  std::string out;
  std::string err;

  bool well() const { return in_time && status == 0; }
  /// The last line that it wrote, on standard error if there is one: why it ended.
  std::string last_words() const;
};

/// Standard output and error go to files `log`.out and `log`.err, and are read back.
Ended run_child(const Child& child, const std::filesystem::path& log);

}  // namespace sluice::gpu_check
