// Workers: a fixed number of threads for work that needs a processor: casts, copies out of slabs, touching fresh
// memory. Threads: run() from any; tasks run on the pool's own threads, begun in the order of run(). The destructor
// finishes all.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace sluice {

class Workers {
 public:
  /// Throws Error{system} where not even one thread can be made; fewer than `count` is no error.
  explicit Workers(unsigned count);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  /// Queues `task`, which must not throw. Never blocks on other tasks.
  void run(std::function<void()> task);

  std::size_t count() const noexcept { return threads_.size(); }

 private:
  void work() noexcept;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace sluice
