#include "loader/read/pread_pool.hpp"

#include <unistd.h>

#include <cerrno>

#include "loader/read/read_progress.hpp"

namespace sluice {
namespace {

Done read_all(int descriptor, const Read& read) noexcept {
  ReadProgress progress(read);
  while (!progress.ended()) {
    const ssize_t got = pread(descriptor, progress.target(), progress.bytes(), static_cast<off_t>(progress.offset()));
    progress.add(got < 0 ? -errno : static_cast<int>(got));
  }
  return progress.done();
}

}  // namespace

void PreadPool::submit(int descriptor, const Read& read) {
  workers_.run([this, descriptor, read] {
    const Done done = read_all(descriptor, read);
    {
      const std::lock_guard lock(mutex_);
      finished_.push_back(done);
    }
    wakeup_.notify();
  });
}

void PreadPool::collect(std::vector<Done>& done) {
  const std::lock_guard lock(mutex_);
  done.insert(done.end(), finished_.begin(), finished_.end());
  finished_.clear();
}

}  // namespace sluice
