// Slow storage for one process, preloaded: pread and preadv bring at most so many bytes a second, whichever threads
// call them. SLOW_STORAGE names the rate. What is read in another way, by a ring or by read(), is as fast as it is.
#include <dlfcn.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <chrono>
#include <cstdlib>
#include <mutex>
#include <thread>

namespace {

using Clock = std::chrono::steady_clock;

double bytes_per_second() {
  static const double rate = [] {
    const char* const text = std::getenv("SLOW_STORAGE");
    return text == nullptr ? 0.0 : std::atof(text);
  }();
  return rate;
}

/// A bucket that nothing is saved up in: each read has it to itself for as long as its bytes take.
void wait_for(ssize_t bytes) {
  static std::mutex mutex;
  static Clock::time_point free_at;
  if (bytes <= 0 || bytes_per_second() <= 0) return;
  Clock::time_point done;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    const std::chrono::duration<double> takes(static_cast<double>(bytes) / bytes_per_second());
    if (free_at < Clock::now()) free_at = Clock::now();
    free_at += std::chrono::duration_cast<Clock::duration>(takes);
    done = free_at;
  }
  std::this_thread::sleep_until(done);
}

/// The function of that name that would be called without this library.
template <typename Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

ssize_t pread(int descriptor, void* target, size_t bytes, off_t offset) {
  static auto* const real = next<ssize_t(int, void*, size_t, off_t)>("pread");
  const ssize_t got = real(descriptor, target, bytes, offset);
  wait_for(got);
  return got;
}

ssize_t pread64(int descriptor, void* target, size_t bytes, off64_t offset) {
  return pread(descriptor, target, bytes, offset);
}

ssize_t preadv(int descriptor, const iovec* targets, int count, off_t offset) {
  static auto* const real = next<ssize_t(int, const iovec*, int, off_t)>("preadv");
  const ssize_t got = real(descriptor, targets, count, offset);
  wait_for(got);
  return got;
}
}
