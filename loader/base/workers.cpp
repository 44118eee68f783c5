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
  }
}

Workers::~Workers() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Workers::run(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
}

void Workers::work() noexcept {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
    if (tasks_.empty()) return;
    std::function<void()> task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task();
    task = nullptr;  // what it holds is let go of outside the lock
    lock.lock();
  }
}

}  // namespace sluice
