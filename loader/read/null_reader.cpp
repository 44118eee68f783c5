#include "loader/read/null_reader.hpp"

namespace sluice {

void NullReader::wait(std::vector<Done>& done, bool block) {
  if (finished_.empty()) {
    if (block) wakeup_.wait();
    wakeup_.clear();
  }
  done.insert(done.end(), finished_.begin(), finished_.end());
  finished_.clear();
}

}  // namespace sluice
