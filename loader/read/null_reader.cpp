#include "loader/read/null_reader.hpp"

#include <poll.h>

namespace sluice {

void NullReader::wait(std::vector<Done>& done, bool block) {
  if (finished_.empty()) {
    pollfd wakeup{wakeup_.fd(), POLLIN, 0};
    poll(&wakeup, 1, block ? -1 : 0);
    wakeup_.clear();
  }
  done.insert(done.end(), finished_.begin(), finished_.end());
  finished_.clear();
}

}  // namespace sluice
