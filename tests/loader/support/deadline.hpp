// Deadline: ends the test program where what a test waits for does not come, so that a hang is a failure of its own.
#pragma once

#include <unistd.h>

namespace sluice {

/// SIGALRM kills the process after `seconds`, unless the deadline is gone by then. One at a time.
class Deadline {
 public:
  explicit Deadline(unsigned seconds = 120) { alarm(seconds); }
  ~Deadline() { alarm(0); }
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;
};

}  // namespace sluice
