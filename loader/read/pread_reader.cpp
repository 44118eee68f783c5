#include "loader/read/pread_reader.hpp"

#include <poll.h>

#include <algorithm>

namespace sluice {
namespace {

// More threads than this only queue in the kernel: storage is full at 8 to 16 reads of a slab.
constexpr unsigned threads_most = 16;

}  // namespace

PreadReader::PreadReader(const Options& options, Wakeup& wakeup)
    : wakeup_(wakeup), pool_(std::min(options.queue_depth, threads_most), wakeup) {}

void PreadReader::wait(std::vector<Done>& done, bool block) {
  pollfd wakeup{wakeup_.fd(), POLLIN, 0};
  // Interrupted or failed, it is as if it were notified: the engine looks and waits again.
  poll(&wakeup, 1, block ? -1 : 0);
  wakeup_.clear();
  pool_.collect(done);
}

}  // namespace sluice
