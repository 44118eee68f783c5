// Wakeup: the eventfd through which lanes, workers and callers wake the engine thread out of Reader::wait().
// Threads: notify() on any thread, never blocks; the rest on the engine thread.
#pragma once

namespace sluice {

class Wakeup {
 public:
  /// Throws Error{system}.
  Wakeup();
  ~Wakeup();
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;

  void notify() noexcept;
  /// Sleeps until there is a notification that has not been cleared, or a signal comes. Throws Error{system}.
  void wait() const;
  /// Readable while a notify() has not been cleared. Non-blocking.
  int fd() const noexcept { return fd_; }
  /// Forgets all notifications so far. Clear first, then look at the marks: a mark made after the clear wakes again.
  void clear() noexcept;

 private:
  int fd_;
};

}  // namespace sluice
