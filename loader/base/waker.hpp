// Waker: wakes threads on behalf of one that must not take long. To wake a thread that sleeps takes a call of the
// system, some microseconds on a virtual machine: with eight GPUs, eight for each extent. A thread of its own makes
// them here; who rings wakes that one, and only where it sleeps.
// Threads: any; but a bell is made and destroyed by one, while it may be rung by one other.
#pragma once

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "loader/base/mutex.hpp"

namespace sluice {

class Waker {
 public:
  /// Throws Error{system}.
  Waker();
  ~Waker();
  Waker(const Waker&) = delete;
  Waker& operator=(const Waker&) = delete;

  /// What one thread sleeps on.
  class Bell {
   public:
    /// `waker` may be nullptr: then ring() notifies by itself. `sleeping` outlives it.
    Bell(std::shared_ptr<Waker> waker, Condition& sleeping);
    ~Bell();
    Bell(const Bell&) = delete;
    Bell& operator=(const Bell&) = delete;

    /// Has one thread that waits for the condition notified, now or soon. Allocates nothing.
    void ring() noexcept;

   private:
    friend class Waker;
    const std::shared_ptr<Waker> waker_;
    Condition& sleeping_;
    std::atomic<bool> rung_ = false;
  };

 private:
  void wake() noexcept;
  void wake_others() noexcept;
  bool wait() noexcept;

  std::atomic<bool> called_ = false;  // and the thread has not looked since
  Mutex mutex_;
  Condition changed_;
  bool awake_ SLUICE_GUARDED_BY(mutex_) = false;
  bool closing_ SLUICE_GUARDED_BY(mutex_) = false;
  Mutex bells_mutex_;  // never taken by who rings
  std::vector<Bell*> bells_ SLUICE_GUARDED_BY(bells_mutex_);
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace sluice
