// Interrupts: what SIGINT and SIGTERM do. As a rule they end the process with status 128 + signal at once, since
// nothing is being written that could be left half done. While a Guard lives they ask for an orderly end instead, once:
// a second signal ends the process even if storage does not answer. Threads: the signals are blocked in all threads and
// taken by one of its own; make it before any other thread.
#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <thread>

#include "loader/base/mutex.hpp"

namespace sluice::tool {

/// Thrown by who notices an interrupt and has cleaned up: exit status 128 + signal.
class Interrupted : public std::exception {
 public:
  explicit Interrupted(int signal) noexcept : signal_(signal) {}
  int signal() const noexcept { return signal_; }
  const char* what() const noexcept override { return "interrupted"; }

 private:
  int signal_;
};

class Interrupts {
 public:
  /// Throws Error{system} where the process has no descriptor or thread left.
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  /// One at a time. Its functions run on the thread of Interrupts, never after the destructor has returned; neither may
  /// throw or wait.
  class Guard {
   public:
    /// `on_signal` is called at the first signal, `on_tick` (may be empty) ten times a second.
    Guard(Interrupts& interrupts, std::function<void()> on_signal, std::function<void()> on_tick = {});
    ~Guard();
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    Interrupts& interrupts_;
  };

  /// The signal that came while a Guard lived, or 0.
  int signal() const noexcept { return signal_.load(); }
  /// Throws Interrupted where there was one.
  void check() const {
    if (const int number = signal()) throw Interrupted(number);
  }

 private:
  void set(std::function<void()> on_signal, std::function<void()> on_tick, bool guarded);
  void watch();
  void take_signal();

  int signal_descriptor_ = -1;
  int wake_descriptor_ = -1;  // readable when the watcher must look at the members below again
  std::atomic<int> signal_ = 0;
  Mutex mutex_;
  std::function<void()> on_signal_ SLUICE_GUARDED_BY(mutex_);
  std::function<void()> on_tick_ SLUICE_GUARDED_BY(mutex_);
  bool guarded_ SLUICE_GUARDED_BY(mutex_) = false;
  bool stopping_ SLUICE_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace sluice::tool
