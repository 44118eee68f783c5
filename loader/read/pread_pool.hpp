// PreadPool: threads that read with pread(2): all reads of PreadReader, and what UringReader finds in the page cache or
// cannot do for the moment. Threads: submit() and collect() on the engine's. The destructor waits for reads in flight.
#pragma once

#include <vector>

#include "loader/base/mutex.hpp"
#include "loader/base/workers.hpp"
#include "loader/read/read_progress.hpp"
#include "loader/read/reader.hpp"

namespace sluice {

class PreadPool {
 public:
  /// For at most `depth` reads that were submitted and not collected. Throws Error{system} where not even one thread
  /// can be made.
  PreadPool(unsigned threads, unsigned depth, Wakeup& wakeup);

  /// Carries a read on, to its end, from `descriptor`; the wakeup is notified then. Where storage refuses for the
  /// moment, the thread tries again after a pause. Throws std::bad_alloc, with nothing begun.
  void submit(int descriptor, const ReadProgress& progress);
  /// Appends what has finished. Throws std::bad_alloc, with nothing lost.
  void collect(std::vector<Done>& done);

 private:
  Wakeup& wakeup_;
  Mutex mutex_;
  std::vector<Done> finished_ SLUICE_GUARDED_BY(mutex_);  // has room for all that may be in flight
  Workers workers_;                                       // last: joined before what its tasks use goes
};

}  // namespace sluice
