#include "loader/base/workers.hpp"

#include <exception>
#include <utility>

#include "loader/base/thread.hpp"

namespace sluice {

Workers::Workers(unsigned count) : count_(count) {
  threads_.reserve(count);
  const MutexLock lock(mutex_);
  add_thread();
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
    if (tasks_.size() > waiting_ && threads_.size() < count_ && !refused_ && !stopping_) {
      try {
        add_thread();
      } catch (const std::exception&) {
        refused_ = true;  // the others do all of it
      }
    }
  }
  wake_.notify_one();
}

void Workers::add_thread() {
  threads_.push_back(start_thread("sluice-worker", [this] { work(); }));
  ++waiting_;
}

void Workers::work() noexcept {
  MutexLock lock(mutex_);
  for (;;) {
    while (!stopping_ && tasks_.empty()) wake_.wait(lock);
    --waiting_;
    if (tasks_.empty()) return;
    std::function<void()> task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task();
    task = nullptr;  // what it holds is released outside the lock
    lock.lock();
    ++waiting_;
  }
}

}  // namespace sluice
