// OpeningLanes: the arenas and lanes of a load while workers open them, beside the first reads.
// Threads: the engine's only; the workers are inside.
#pragma once

#include <exception>
#include <memory>
#include <span>
#include <vector>

#include "loader/base/task_group.hpp"
#include "loader/base/wakeup.hpp"
#include "loader/device/device.hpp"
#include "loader/engine/load_state.hpp"

namespace sluice {

class OpeningLanes {
 public:
  /// All arguments outlive it, and so do those of begin().
  OpeningLanes(Workers& workers, Wakeup& wakeup) : wakeup_(wakeup), tasks_(workers) {}

  /// Begins to open one arena and one lane on each of `devices`, those of the load's plan in its order. The wakeup is
  /// notified when one is open.
  void begin(LoadState& state, std::span<const std::shared_ptr<Device>> devices);

  struct Opened {
    std::vector<std::shared_ptr<Arena>> arenas;
    std::vector<std::unique_ptr<Lane>> lanes;  // behind the arenas: they end first
  };
  /// Once: all of them, as soon as all are open; nothing before that. Throws what kept one from being opened.
  bool take(Opened& opened);
  /// Waits for what is being opened, and closes what was not taken.
  void close() noexcept;
  /// Of the slowest, so far.
  double seconds();

 private:
  void make_waker(std::span<const std::shared_ptr<Device>> devices);
  void open(LoadState& state, std::size_t index, Device& device) noexcept;

  Wakeup& wakeup_;
  std::shared_ptr<Waker> waker_;  // nullptr: lanes wake their threads by themselves
  Mutex mutex_;
  Opened opened_ SLUICE_GUARDED_BY(mutex_);  // by device of the plan
  std::size_t left_ SLUICE_GUARDED_BY(mutex_) = 0;
  std::exception_ptr error_ SLUICE_GUARDED_BY(mutex_);
  double seconds_ SLUICE_GUARDED_BY(mutex_) = 0;
  TaskGroup tasks_;  // last: its tasks use all of the above
};

}  // namespace sluice
