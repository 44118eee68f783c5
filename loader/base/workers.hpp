// Workers: a bounded number of threads, made as tasks need them, for work that needs a processor: casts, copies out of
// slabs, touching fresh memory. Threads: run() from any; tasks run on the pool's own threads, begun in the order of
// run(). The destructor finishes all.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "loader/base/mutex.hpp"

namespace sluice {

class Workers {
 public:
  /// At most `count` threads: one now, and one more whenever there are more tasks than threads that wait for one.
  /// Throws Error{system} where not even one can be made, and std::bad_alloc; fewer than `count` is no error.
  explicit Workers(unsigned count);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  /// Queues `task`, which must not throw. Never blocks on other tasks. Throws std::bad_alloc, and then nothing is
  /// queued.
  void run(std::function<void()> task);

  /// The most threads that there will be.
  std::size_t count() const noexcept { return count_; }

 private:
  void add_thread() SLUICE_REQUIRES(mutex_);
  void work() noexcept;
  void stop() noexcept;

  const std::size_t count_;
  Mutex mutex_;
  Condition wake_;
  std::deque<std::function<void()>> tasks_ SLUICE_GUARDED_BY(mutex_);
  std::size_t waiting_ SLUICE_GUARDED_BY(mutex_) = 0;  // threads, for a task, or about to
  bool refused_ SLUICE_GUARDED_BY(mutex_) = false;     // another thread, once
  bool stopping_ SLUICE_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;  // from stop() on no more are added
};

}  // namespace sluice
