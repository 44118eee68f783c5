#include "loader/read/pread_pool.hpp"

#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <thread>

#include "loader/base/limits.hpp"

namespace sluice {
namespace {

/// Ends since each round brings bytes, or the end of the file, or counts towards limits::tries_max.
Done read_all(int descriptor, ReadProgress progress) noexcept {
  while (!progress.ended()) {
    if (progress.refused()) std::this_thread::sleep_for(limits::retry_pause);
    const ssize_t got = pread(descriptor, progress.target(), progress.bytes(), static_cast<off_t>(progress.offset()));
    progress.add(got < 0 ? -errno : static_cast<int>(got));
  }
  return progress.done();
}

}  // namespace

PreadPool::PreadPool(unsigned threads, unsigned depth, Wakeup& wakeup)
    : wakeup_(wakeup), workers_(std::min(threads, depth)) {
  const MutexLock lock(mutex_);
  finished_.reserve(depth);
}

void PreadPool::submit(int descriptor, const ReadProgress& progress) {
  workers_.run([this, descriptor, progress] {
    const Done done = read_all(descriptor, progress);
    {
      const MutexLock lock(mutex_);
      assert(finished_.size() < finished_.capacity());
      finished_.push_back(done);
    }
    wakeup_.notify();
  });
}

void PreadPool::collect(std::vector<Done>& done) {
  const MutexLock lock(mutex_);
  done.insert(done.end(), finished_.begin(), finished_.end());
  finished_.clear();
}

}  // namespace sluice
