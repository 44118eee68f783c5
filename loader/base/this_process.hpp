// ThisProcess: remembers the process that made it, so that its child after fork() can be told apart. The child has none
// of its parent's threads: whoever waits for one of them would wait for ever.
#pragma once

#include <unistd.h>

namespace sluice {

class ThisProcess {
 public:
  /// Whether the caller is the process that made this.
  bool is_still() const noexcept { return getpid() == id_; }

 private:
  pid_t id_ = getpid();
};

}  // namespace sluice
