// Mutex, MutexLock, Condition: the standard ones, with annotations by which clang checks at compile time that whatever
// a mutex guards is touched only while it is held (-Wthread-safety; clang's documentation, "Thread Safety Analysis").
// Other compilers see plain std::mutex and std::condition_variable.
//
//   Mutex mutex_;
//   int count_ SLUICE_GUARDED_BY(mutex_) = 0;
//   void count_up() SLUICE_REQUIRES(mutex_);
//
// The analysis does not look into the predicate of a wait, so a wait is a loop: while (count_ == 0)
// changed_.wait(lock);
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#ifdef __clang__
#define SLUICE_ANNOTATE(annotation) __attribute__((annotation))
#else
#define SLUICE_ANNOTATE(annotation)
#endif

#define SLUICE_CAPABILITY(name) SLUICE_ANNOTATE(capability(name))
#define SLUICE_SCOPED_CAPABILITY SLUICE_ANNOTATE(scoped_lockable)
#define SLUICE_GUARDED_BY(mutex) SLUICE_ANNOTATE(guarded_by(mutex))
#define SLUICE_REQUIRES(...) SLUICE_ANNOTATE(requires_capability(__VA_ARGS__))
#define SLUICE_EXCLUDES(...) SLUICE_ANNOTATE(locks_excluded(__VA_ARGS__))
#define SLUICE_ACQUIRE(...) SLUICE_ANNOTATE(acquire_capability(__VA_ARGS__))
#define SLUICE_RELEASE(...) SLUICE_ANNOTATE(release_capability(__VA_ARGS__))
#define SLUICE_NO_THREAD_SAFETY_ANALYSIS SLUICE_ANNOTATE(no_thread_safety_analysis)

namespace sluice {

class SLUICE_CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() SLUICE_ACQUIRE() { mutex_.lock(); }
  void unlock() SLUICE_RELEASE() { mutex_.unlock(); }

 private:
  friend class MutexLock;
  std::mutex mutex_;
};

/// Holds a mutex from its construction to its destruction, but for the time between unlock() and lock().
class SLUICE_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) SLUICE_ACQUIRE(mutex) : lock_(mutex.mutex_) {}
  ~MutexLock() SLUICE_RELEASE() = default;
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  void unlock() SLUICE_RELEASE() { lock_.unlock(); }
  void lock() SLUICE_ACQUIRE() { lock_.lock(); }

 private:
  friend class Condition;
  std::unique_lock<std::mutex> lock_;
};

class Condition {
 public:
  /// REQUIRES: `lock` is held; it is let go of while this waits. May return without having been notified.
  void wait(MutexLock& lock) { condition_.wait(lock.lock_); }
  /// Likewise, until `deadline` at the latest.
  void wait_until(MutexLock& lock, std::chrono::steady_clock::time_point deadline) {
    condition_.wait_until(lock.lock_, deadline);
  }
  void notify_one() noexcept { condition_.notify_one(); }
  void notify_all() noexcept { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace sluice
