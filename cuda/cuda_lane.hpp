// CudaLane: slab -> arena on one GPU, for one load.
//
//   copy stream      | copy | copy | copy to scratch 0 | copy to scratch 1 | ...
//   delivery stream                                    | kernel on 0       | kernel on 1 | ...
//
// A few runs of bytes are copied straight into place. Anything else is copied to one of a few scratch slabs, its table
// behind it, and delivered from there by one kernel. Streams wait for each other by events; the engine's thread waits
// for neither. One thread, the waiter, sleeps on the events of what was queued, in order, and wakes the engine: the
// driver does not call a host function in a stream after an error (cuda.h, cuLaunchHostFunc).
//
// The lane's mutex is never held during a call of the driver, which may take as long as another thread pins memory.
#pragma once

#include <deque>
#include <exception>
#include <list>
#include <thread>
#include <vector>

#include "cuda/context.hpp"
#include "cuda/delivery_kernel.hpp"
#include "cuda/device_memory.hpp"
#include "cuda/lane_trace.hpp"
#include "loader/base/mutex.hpp"
#include "loader/device/device.hpp"
#include "loader/device/targets.hpp"

namespace sluice {

class CudaLane final : public Lane {
 public:
  /// REQUIRES: the context is current. `kernel` may be nullptr where `scratch_bytes` is 0: then nothing needs it. All
  /// outlive the lane.
  CudaLane(const Context& context, const DeliveryKernel* kernel, std::uint64_t scratch_bytes, const LaneContext& lane);
  ~CudaLane() override;

  void deliver(const LaneWork& work) override;
  bool order(CUstream_st* stream, std::uint64_t count) override;
  void collect(std::vector<LaneDone>& done) override;

 private:
  struct ScratchSlab {
    explicit ScratchSlab(const Context& context) : copied(context), delivered(context) {}
    Event copied;     // the last extent is in it
    Event delivered;  // and out of it
  };
  /// What was delivered once. It moves from list to list, and so stays where it is in memory: only deliver() makes new.
  struct Work {
    explicit Work(const Context& context) : end(context) {}
    Event end;
    std::uint64_t number = 0;  // in the order of deliver()
    bool launched = false;     // it ends on the delivery stream, not on the copy stream
    LaneDone done;
    unsigned orders = 0;  // calls of order() that are making a stream wait for `end`: it must not be recorded anew
  };
  using Works = std::list<Work>;

  cu::DevicePointer base_of(std::uint32_t placement) const;
  void fill();
  void clear_scratch();
  void queue_rows(cu::DevicePointer target, std::uint64_t target_stride, const std::byte* source,
                  std::uint64_t source_stride, std::uint64_t bytes, std::uint64_t rows, LaneDone& done);
  void queue_copy(cu::DevicePointer target, const std::byte* source, std::uint64_t bytes, LaneDone& done);
  void copy(const LaneWork& work, LaneDone& done);
  void launch(const LaneWork& work, LaneDone& done);
  Works take_work();
  bool is_capturing(CUstream_st* stream) const;
  void wait_in_order() noexcept;
  bool wait_for_work();
  cu::Event end_of(std::size_t nth);
  void finish(std::size_t count);

  const Context& context_;
  const DeliveryKernel* const kernel_;
  const PlanData& plan_;
  Wakeup& wakeup_;
  const Targets targets_;
  const DeviceMemory scratch_;
  const Stream copies_;
  const Stream kernels_;
  LaneTrace trace_;
  std::deque<ScratchSlab> scratch_slabs_;
  std::uint64_t delivered_ = 0;
  std::uint64_t launched_ = 0;

  Mutex mutex_;
  Condition queued_;
  Works in_flight_ SLUICE_GUARDED_BY(mutex_);  // in the order in which they end
  Works finished_ SLUICE_GUARDED_BY(mutex_);   // and have not been collected
  Works free_ SLUICE_GUARDED_BY(mutex_);       // some of which may still have orders
  std::exception_ptr error_ SLUICE_GUARDED_BY(mutex_);
  bool closing_ SLUICE_GUARDED_BY(mutex_) = false;
  std::thread waiter_;  // last: it uses all of the above
};

}  // namespace sluice
