// ChildProcess: this tool, run once more as a process of its own, so that what it measures is a start and not a second
// one. Its output and its message are kept in memory files, so that nobody has to empty pipes while it runs.
// Threads: run() on the main thread; end() on any, at any time.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "loader/base/mutex.hpp"

namespace sluice::tool {

/// What became of it.
struct ChildResult {
  int status = 0;          // its exit status; 128 + signal where a signal ended it
  double seconds = 0;      // of the machine's clock, from before it was made until it had ended
  double cpu_seconds = 0;  // user + system of the whole process
  std::string output;      // what it wrote to standard output
  std::string message;     // its one line on standard error, without the tool's name
};

class ChildProcess {
 public:
  ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  /// Runs this tool with `arguments`, standard input closed, and waits for its end. Throws Error{system} where there is
  /// no process, descriptor or memory for it.
  ChildResult run(const std::vector<std::string>& arguments);
  /// Ends the child that runs, if one does, as SIGTERM would, and any that would be run after this.
  void end() noexcept;

 private:
  Mutex mutex_;
  pid_t running_ SLUICE_GUARDED_BY(mutex_) = 0;  // 0: none, or its number may be another's already
  bool ended_ SLUICE_GUARDED_BY(mutex_) = false;
};

}  // namespace sluice::tool
