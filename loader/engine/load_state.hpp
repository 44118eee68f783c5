// LoadState: what a Load and the engine that runs it share: the tensors, which of them have arrived, how it ended.
// The engine thread writes, any thread reads and waits; one mutex guards all that changes. It outlives both sides:
// whoever lets go last frees the arenas.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "loader/base/tracer.hpp"
#include "loader/base/wakeup.hpp"
#include "loader/device/device.hpp"
#include "loader/plan/plan.hpp"
#include "sluice/stats.hpp"
#include "sluice/tensor.hpp"

namespace sluice {

struct LoadState {
  LoadState(std::shared_ptr<const PlanData> plan, std::shared_ptr<Wakeup> wakeup, bool trace);

  // The engine's side.

  /// Fills in where tensors will lie and what takes them there: one arena and one lane a device of the plan. Before the
  /// first publish(). The lanes are used until close_lanes().
  void place(std::vector<std::shared_ptr<Arena>> arenas, std::span<const std::unique_ptr<Lane>> lanes);
  /// Waits for calls of order() that are in a lane.
  void close_lanes() noexcept;
  /// These placements are complete, and these extents are with their lanes; `stats` is what is known so far.
  void publish(std::span<const std::uint32_t> placements, std::span<const std::uint32_t> extents, const Stats& stats);
  /// The load has ended; `error` is null where it is complete. Nothing touches the arenas any more.
  void finish(std::exception_ptr error, const Stats& stats);

  // The caller's side.

  void cancel() noexcept;
  void wait_until_finished() noexcept;
  /// Waits, under `lock` of the mutex, until `there()`; a span for the tracer where it is not there yet.
  template <typename There>
  void wait_until(std::unique_lock<std::mutex>& lock, There there) {
    if (there()) return;
    const Tracer::Scope waiting(tracer, {.what = Span::What::wait, .row = Tracer::caller});
    changed.wait(lock, there);
  }
  /// Lane::order() of a device of the plan; false where lanes may not be used. `lock` of the mutex is let go meanwhile:
  /// the driver may take its time, and the engine's thread needs the mutex to publish.
  bool order(std::unique_lock<std::mutex>& lock, std::size_t device, CUstream_st* stream,
             std::span<const Extent> extents);
  /// The placement of a name, on `device` or on the first that the plan names; nothing if the plan does not deliver it.
  std::optional<std::uint32_t> placement_of(std::string_view name, const DeviceId* device) const noexcept;

  const std::shared_ptr<const PlanData> plan;
  const std::shared_ptr<Wakeup> wakeup;  // the engine's
  std::atomic<bool> cancel_requested = false;
  Tracer tracer;

  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::shared_ptr<Arena>> arenas;  // by device of the plan
  std::vector<Lane*> lanes;                    // by device of the plan; empty before and after they may be used
  std::size_t orders = 0;                      // calls of order() that are in a lane
  std::vector<bool> delivered;                 // by extent: it is with its lanes
  std::vector<Tensor> tensors;                 // by placement; never resized
  std::vector<bool> arrived;                   // by placement
  std::vector<std::uint32_t> arrivals;         // placements in order of arrival
  bool finished = false;
  std::exception_ptr error;
  Stats stats;
};

}  // namespace sluice
