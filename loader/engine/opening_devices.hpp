// OpeningDevices: the devices of a load while their drivers start, beside the first reads. Once all are open, a worker
// asks them whether there is memory enough, and whether the caller's memory is theirs: before anything is written, on
// any of them.
// Threads: the engine's only; the workers are inside.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <vector>

#include "loader/base/mutex.hpp"
#include "loader/base/stopwatch.hpp"
#include "loader/base/task_group.hpp"
#include "loader/engine/equipment.hpp"
#include "loader/engine/load_state.hpp"

namespace sluice {

class OpeningDevices {
 public:
  /// Both outlive it.
  OpeningDevices(LoadState& state, Equipment& equipment);

  /// Begins to open the devices of the load's plan. What the load needs of the host is held against its memory before
  /// anything is read, in any case. `began`: when the load did. Throws Error{out_of_memory} and what opening throws.
  void begin(const Stopwatch& began);
  /// Looks how far they are, once, when the wakeup was notified. True once they are open and may be used; has slabs
  /// pinned as soon as they are open. Throws what was refused: Error{device_unavailable, out_of_memory,
  /// invalid_argument}.
  bool are_ready();
  /// By device of the plan. REQUIRES: are_ready().
  const std::vector<std::shared_ptr<Device>>& devices() const noexcept { return devices_; }
  /// Waits for a worker that asks devices. Devices that are not open yet open for a load to come.
  void close() noexcept { tasks_.wait(); }
  /// From the load's beginning until all were open; 0: not yet.
  double seconds() const noexcept { return seconds_; }

 private:
  bool are_open();
  void check_all(std::uint64_t staging_bytes) noexcept;
  void check_callers_memory() const;
  void check_memory(std::uint64_t staging_bytes) const;
  std::uint64_t staging_bytes_to_come() const noexcept;

  LoadState& state_;
  Equipment& equipment_;
  const PlanData& plan_;
  const bool needs_driver_;
  Stopwatch began_;
  std::vector<std::shared_ptr<Device>> devices_;  // nullptr: not open yet, or not looked at
  double seconds_ = 0;
  bool ready_ = false;
  bool checking_ = false;

  Mutex mutex_;
  bool checked_ SLUICE_GUARDED_BY(mutex_) = false;
  std::exception_ptr error_ SLUICE_GUARDED_BY(mutex_);
  TaskGroup tasks_;  // last: its task uses all of the above
};

}  // namespace sluice
