// Workers: a fixed number of threads for work that needs a processor: casts, copies out of slabs, touching fresh
// memory. Threads: run() from any; tasks run on the pool's own threads, begun in the order of run(). The destructor
// finishes all.
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
  /// Throws Error{system} where not even one thread can be made, and std::bad_alloc; fewer than `count` is no error.
  explicit Workers(unsigned count);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  /// Queues `task`, which must not throw. Never blocks on other tasks. Throws std::bad_alloc, and then nothing is
  /// queued.
  void run(std::function<void()> task);

  std::size_t count() const noexcept { return threads_.size(); }

 private:
  void work() noexcept;
  void stop() noexcept;

  Mutex mutex_;
  Condition wake_;
  std::deque<std::function<void()>> tasks_ SLUICE_GUARDED_BY(mutex_);
  bool stopping_ SLUICE_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace sluice
