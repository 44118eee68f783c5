// LoadState: what a Load and the engine that runs it share: the tensors, which of them have arrived, how it ended.
// The engine's thread writes, any thread reads and waits; one mutex guards all that changes. It outlives both sides.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "loader/base/mutex.hpp"
#include "loader/base/this_process.hpp"
#include "loader/base/tracer.hpp"
#include "loader/base/wakeup.hpp"
#include "loader/device/device.hpp"
#include "loader/engine/load_memory.hpp"
#include "loader/engine/piece_marks.hpp"
#include "loader/engine/piece_memory.hpp"
#include "loader/plan/bindings.hpp"
#include "loader/plan/plan.hpp"
#include "sluice/load.hpp"
#include "sluice/stats.hpp"
#include "sluice/tensor.hpp"

namespace sluice {

class LoadState {
 public:
  LoadState(const Plan& plan, LoadMemory memory, std::shared_ptr<Wakeup> wakeup, bool trace);

  const PlanData& plan() const noexcept { return *plan_; }
  const Bindings& bindings() const noexcept { return *bindings_; }
  const LoadMemory& memory() const noexcept { return memory_; }
  Tracer& tracer() noexcept { return tracer_; }

  // The engine's side.

  /// The engine runs it when it has run `earlier`.
  void wait_behind(std::weak_ptr<LoadState> earlier) SLUICE_EXCLUDES(mutex_);
  /// The engine is about to run the load. False if the load has ended before it began: then nothing is to be done.
  bool begin() noexcept SLUICE_EXCLUDES(mutex_);
  bool cancel_requested() const noexcept { return cancel_requested_; }
  /// The group that a caller wants next, if one has said so.
  std::optional<Group> preferred() const noexcept;
  /// Fills in where tensors will lie and what takes them there: one arena and one lane per device of the plan. The
  /// lanes are used until close_lanes(). REQUIRES: nothing has been published.
  void place(std::vector<std::shared_ptr<Arena>> arenas, std::span<const std::unique_ptr<Lane>> lanes)
      SLUICE_EXCLUDES(mutex_);
  /// With a budget: a piece of the plan has memory. REQUIRES: place() was called; nothing in the piece is published.
  void add_piece(std::uint32_t piece, std::shared_ptr<PieceMemory> memory) SLUICE_EXCLUDES(mutex_);
  /// With a budget: the load is held up while the engine awaits one of these.
  void watch(std::shared_ptr<const PieceMarks> returned) SLUICE_EXCLUDES(mutex_);
  /// It is now: for callers with an event loop.
  void tell_held_up() noexcept SLUICE_EXCLUDES(mutex_);
  /// Waits for callers that are in a lane.
  void close_lanes() noexcept SLUICE_EXCLUDES(mutex_);
  /// A placement whose last delivery is with its lane: the lane's first `count` works hold all of it.
  struct Handed {
    std::uint32_t placement = 0;
    std::uint64_t count = 0;
  };
  /// These placements are complete, and those are with their lanes; `stats` is what is known so far.
  void publish(std::span<const std::uint32_t> placements, std::span<const Handed> handed, const Stats& stats)
      SLUICE_EXCLUDES(mutex_);
  /// The load has ended; `error` is null where it is complete. Nothing touches the arenas any more.
  void finish(std::exception_ptr error, Stats stats) noexcept SLUICE_EXCLUDES(mutex_);

  // The caller's side. What waits throws Error{system} in a child of the process that started the load.

  /// Asks the engine to end the load. A load that has not begun ends at once.
  void cancel() noexcept SLUICE_EXCLUDES(mutex_);
  /// Cancels the load, waits until nothing touches the arenas any more, and frees them.
  void release() noexcept SLUICE_EXCLUDES(mutex_);
  /// As the functions of Load of the same names; placements are numbers in the plan.
  const Tensor* arrival(std::size_t index) SLUICE_EXCLUDES(mutex_);
  const Tensor* find(std::uint32_t placement) noexcept SLUICE_EXCLUDES(mutex_);
  bool ready(Group group, DeviceId device) noexcept SLUICE_EXCLUDES(mutex_);
  using Timeout = std::chrono::nanoseconds;
  static constexpr Timeout for_ever = Timeout::max();  // as wait() waits
  bool wait_for_arrival(std::size_t index, Timeout timeout) SLUICE_EXCLUDES(mutex_);
  const Tensor* wait_for(std::uint32_t placement, Timeout timeout) SLUICE_EXCLUDES(mutex_);
  const Tensor* wait_on(CUstream_st* stream, std::uint32_t placement, Timeout timeout) SLUICE_EXCLUDES(mutex_);
  bool wait_on(CUstream_st* stream, Group group, DeviceId device, Timeout timeout) SLUICE_EXCLUDES(mutex_);
  bool wait_for(Timeout timeout) SLUICE_EXCLUDES(mutex_);
  bool wait_for(Group group, DeviceId device, Timeout timeout) SLUICE_EXCLUDES(mutex_);
  /// `stream`: as that of Load::keep() and drop(), which need not name one.
  std::shared_ptr<const Tensor> keep(std::uint32_t placement, std::optional<CUstream_st*> stream)
      SLUICE_EXCLUDES(mutex_);
  void drop(std::uint32_t placement, std::optional<CUstream_st*> stream) SLUICE_EXCLUDES(mutex_);
  void prefer(Group group) noexcept;
  std::vector<Memory> arenas() SLUICE_EXCLUDES(mutex_);
  int descriptor() noexcept SLUICE_EXCLUDES(mutex_);
  Progress progress() noexcept SLUICE_EXCLUDES(mutex_);
  Stats statistics() SLUICE_EXCLUDES(mutex_);
  /// Copies `bytes` at `offset` of a placement that has arrived, counted without the gaps of its strides.
  void read_back(std::uint32_t placement, std::uint64_t offset, std::byte* target, std::uint64_t bytes)
      SLUICE_EXCLUDES(mutex_);

  /// The placement of a name, on `device` or on the first that the plan names; nothing if the plan does not deliver it.
  std::optional<std::uint32_t> placement_of(std::string_view name, const DeviceId* device) const noexcept;

 private:
  void check_process() const;
  bool is_held_up() const SLUICE_REQUIRES(mutex_) {
    return begun_ && !finished_ && returned_ != nullptr && returned_->is_awaited();
  }
  /// Whether one that the engine is at, and this load waits for, is held up.
  bool waits_for_held_up() SLUICE_EXCLUDES(mutex_);
  /// Waits until `there()`, which reads what the mutex guards, but not for longer. Whether `there()`.
  template <typename There>
  bool wait_until(MutexLock& lock, Timeout timeout, There there) SLUICE_REQUIRES(mutex_);
  /// Throws where a placement has not arrived, or has been dropped.
  void check_present(std::uint32_t placement) const SLUICE_REQUIRES(mutex_);
  /// Index into memory_left_; nothing for the caller's memory and for no bytes.
  std::optional<std::size_t> memory_of(const Placement& placement) const noexcept;
  /// Lane::order() of a device of the plan; false where lanes may not be used. `lock` is let go of meanwhile: the
  /// driver may take its time, and the engine's thread needs the mutex to publish.
  bool order(std::size_t device, CUstream_st* stream, std::uint64_t count) SLUICE_REQUIRES(mutex_);
  /// Index into groups_. Throws Error{tensor_not_found} where nothing of the group goes to the device.
  std::size_t find_group(Group group, DeviceId device) const;
  std::size_t group_of(const Placement& placement) const noexcept {
    return placement.group * plan_->devices.size() + placement.device;
  }
  std::optional<std::size_t> group_at(Group group, DeviceId device) const noexcept;

  /// A group on a device.
  struct GroupLeft {
    std::uint32_t to_arrive = 0;
    std::uint32_t to_hand = 0;
    std::uint64_t handed = 0;  // the largest Handed::count of its placements
  };

  const ThisProcess process_;
  const std::shared_ptr<const PlanData> plan_;
  const std::shared_ptr<const Bindings> bindings_;
  LoadMemory memory_;                     // as it was given until the load has ended
  const std::shared_ptr<Wakeup> wakeup_;  // the engine's
  std::atomic<bool> cancel_requested_ = false;
  std::atomic<std::uint64_t> preferred_ = 0;  // the group's number and 1
  Tracer tracer_;

  Mutex mutex_;
  Condition changed_;
  std::weak_ptr<LoadState> earlier_ SLUICE_GUARDED_BY(mutex_);
  bool begun_ SLUICE_GUARDED_BY(mutex_) = false;
  bool finished_ SLUICE_GUARDED_BY(mutex_) = false;
  std::exception_ptr error_ SLUICE_GUARDED_BY(mutex_);
  Stats stats_ SLUICE_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<Arena>> arenas_ SLUICE_GUARDED_BY(mutex_);  // by device of the plan
  std::vector<Lane*> lanes_ SLUICE_GUARDED_BY(mutex_);  // likewise; empty before and after they may be used
  std::size_t orders_ SLUICE_GUARDED_BY(mutex_) = 0;    // callers that are in a lane
  bool placed_ SLUICE_GUARDED_BY(mutex_) = false;
  /// What tensors lie in, as the load holds it.
  struct MemoryLeft {
    std::uint32_t to_drop = 0;            // tensors in it
    std::shared_ptr<PieceMemory> memory;  // once it is there, and until all have been dropped
  };
  std::vector<MemoryLeft> memory_left_ SLUICE_GUARDED_BY(mutex_);  // by piece; without a budget by device of the plan
  std::vector<bool> dropped_ SLUICE_GUARDED_BY(mutex_);            // by placement
  std::vector<std::uint64_t> handed_ SLUICE_GUARDED_BY(mutex_);    // by placement: Handed::count; 0: not yet
  std::vector<bool> arrived_ SLUICE_GUARDED_BY(mutex_);            // by placement
  std::vector<std::uint32_t> arrivals_ SLUICE_GUARDED_BY(mutex_);  // placements in order of arrival
  std::vector<GroupLeft> groups_ SLUICE_GUARDED_BY(mutex_);        // by group, then by device
  std::shared_ptr<const PieceMarks> returned_ SLUICE_GUARDED_BY(mutex_);  // with a budget, once the load has begun
  std::optional<Wakeup> arrival_event_ SLUICE_GUARDED_BY(mutex_);         // once a caller has asked for it
  std::vector<std::uint32_t> placements_of_;  // by group, then by device: how many there are
  // By placement; never resized. A tensor's address is filled in before it arrives, and then it stays as it is: callers
  // keep references.
  std::vector<Tensor> tensors_;
};

}  // namespace sluice
