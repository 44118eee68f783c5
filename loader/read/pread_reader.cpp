#include "loader/read/pread_reader.hpp"

namespace sluice {
namespace {

// More threads than this only queue in the kernel: storage is full at 8 to 16 reads of a slab.
constexpr unsigned threads_most = 16;

}  // namespace

PreadReader::PreadReader(const Options& options, Wakeup& wakeup)
    : wakeup_(wakeup), pool_(threads_most, options.queue_depth, wakeup) {}

void PreadReader::wait(std::vector<Done>& done, bool block) {
  if (block) wakeup_.wait();
  wakeup_.clear();  // before looking at what the threads have finished: they notify after
  pool_.collect(done);
}

}  // namespace sluice
