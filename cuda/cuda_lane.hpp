// CudaLane: slab -> arena on one GPU, for one load.
//
//   copy stream      | copy | copy | copy to scratch 0 | copy to scratch 1 | ...
//   delivery stream                                    | kernel on 0       | kernel on 1 | ...
//
// A few runs of bytes are copied straight into place. Anything else is copied to one of a few scratch slabs, its table
// behind it, and delivered from there by one kernel; streams wait for each other by events, the engine's thread for
// neither. One thread sleeps on the events of what was queued, in order, and wakes the engine: a host function in the
// stream would not be called after an error (cuda.h, cuLaunchHostFunc).
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "cuda/context.hpp"
#include "cuda/delivery_kernel.hpp"
#include "cuda/device_memory.hpp"
#include "cuda/lane_trace.hpp"
#include "loader/device/device.hpp"

namespace sluice {

class CudaLane final : public Lane {
 public:
  /// With the context current. `kernel` may be nullptr where `scratch_bytes` is 0: then nothing needs it. All outlive
  /// the lane.
  CudaLane(const Context& context, const DeliveryKernel* kernel, std::uint64_t scratch_bytes, const PlanData& plan,
           Arena& arena, Wakeup& wakeup, Tracer& tracer);
  ~CudaLane() override;

  void deliver(const LaneWork& work) override;
  bool order(CUstream_st* stream, std::span<const Extent> extents) override;
  void collect(std::vector<LaneDone>& done) override;

 private:
  struct ScratchSlab {
    explicit ScratchSlab(const Context& context) : copied(context), delivered(context) {}
    Event copied;     // the last extent is in it
    Event delivered;  // and out of it
  };
  struct InFlight {
    std::unique_ptr<Event> end;
    const Extent* extent;
    LaneDone done;
  };

  void copy(const LaneWork& work);
  void launch(const LaneWork& work);
  std::unique_ptr<Event> take_event();
  void wait_in_order() noexcept;
  void finish_first();

  const Context& context_;
  const DeliveryKernel* const kernel_;
  const PlanData& plan_;
  Wakeup& wakeup_;
  const cu::DevicePointer arena_;
  const DeviceMemory scratch_;
  const Stream copies_;
  const Stream kernels_;
  LaneTrace trace_;
  std::deque<ScratchSlab> scratch_slabs_;
  std::uint64_t launched_ = 0;

  std::mutex mutex_;
  std::condition_variable queued_;
  std::deque<InFlight> in_flight_;
  std::vector<std::unique_ptr<Event>> free_events_;
  std::vector<LaneDone> finished_;
  std::exception_ptr error_;
  bool closing_ = false;
  std::thread waiter_;  // last: it uses all of the above
};

}  // namespace sluice
