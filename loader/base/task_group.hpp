// TaskGroup: the tasks that one owner has given to the workers, counted, so that it can wait for all of them. What a
// task uses must outlive the group: declare the group behind it. Threads: any.
#pragma once

#include <cstddef>
#include <utility>

#include "loader/base/mutex.hpp"
#include "loader/base/workers.hpp"

namespace sluice {

class TaskGroup {
 public:
  explicit TaskGroup(Workers& workers) : workers_(workers) {}
  /// Waits for all of them.
  ~TaskGroup() { wait(); }
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  /// Queues `task`, which must not throw. Throws std::bad_alloc, and then nothing is queued, nor counted.
  template <typename Task>
  void run(Task task) {
    begin();
    try {
      workers_.run([this, task = std::move(task)]() mutable noexcept {
        task();
        end();
      });
    } catch (...) {
      end();
      throw;
    }
  }

  /// Returns when no task is under way.
  void wait() noexcept {
    MutexLock lock(mutex_);
    while (count_ > 0) ended_.wait(lock);
  }

 private:
  void begin() {
    const MutexLock lock(mutex_);
    ++count_;
  }
  void end() noexcept {
    const MutexLock lock(mutex_);
    if (--count_ == 0) ended_.notify_all();  // under the lock: the group may be gone as soon as it is released
  }

  Workers& workers_;
  Mutex mutex_;
  Condition ended_;
  std::size_t count_ SLUICE_GUARDED_BY(mutex_) = 0;
};

}  // namespace sluice
