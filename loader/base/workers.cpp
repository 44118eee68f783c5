#include "loader/base/workers.hpp"

#include <utility>

#include "loader/base/thread.hpp"
#include "sluice/error.hpp"

namespace sluice {

Workers::Workers(unsigned count) {
  threads_.reserve(count);
  try {
    for (unsigned i = 0; i < count; ++i) threads_.push_back(start_thread("sluice-worker", [this] { work(); }));
  } catch (const Error&) {
    if (threads_.empty()) throw;
  } catch (...) {
    stop();
    throw;
  }
}

Workers::~Workers() {
  stop();
}

void Workers::stop() noexcept {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Workers::run(std::function<void()> task) {
  {
    const MutexLock lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
}

void Workers::work() noexcept {
  MutexLock lock(mutex_);
  for (;;) {
    while (!stopping_ && tasks_.empty()) wake_.wait(lock);
    if (tasks_.empty()) return;
    std::function<void()> task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task();
    task = nullptr;  // what it holds is released outside the lock
    lock.lock();
  }
}

}  // namespace sluice
