// PreadPool: threads that read with pread(2): all reads of PreadReader, and what UringReader finds in the page cache.
// Threads: submit() and collect() on the engine's. The destructor waits for reads in flight.
#pragma once

#include <mutex>
#include <vector>

#include "loader/base/workers.hpp"
#include "loader/read/reader.hpp"

namespace sluice {

class PreadPool {
 public:
  PreadPool(unsigned threads, Wakeup& wakeup) : wakeup_(wakeup), workers_(threads) {}

  /// Reads from `descriptor`, short reads continued; the wakeup is notified when it is done.
  void submit(int descriptor, const Read& read);
  /// Appends what has finished.
  void collect(std::vector<Done>& done);

 private:
  Wakeup& wakeup_;
  std::mutex mutex_;
  std::vector<Done> finished_;
  Workers workers_;  // last: joined before what its tasks use goes
};

}  // namespace sluice
