// LaneStreams: the streams of one lane, and what is queued in them.
//
//   copy stream      | copy | copy | copy to scratch 0 | copy to scratch 1 | ...
//   delivery stream                                    | kernel on 0       | kernel on 1 | ...
//
// A few runs of bytes are copied straight into place. Anything else is copied to one of a few scratch slabs, its table
// behind it, and delivered from there by one kernel. Streams wait for each other by events; no thread waits for either.
//
// Threads: one at a time, with the context current; but collect_trace(), which one other may call.
#pragma once

#include <cstdint>
#include <deque>

#include "cuda/context.hpp"
#include "cuda/delivery_kernel.hpp"
#include "cuda/delivery_table.hpp"
#include "cuda/device_memory.hpp"
#include "cuda/lane_trace.hpp"
#include "loader/device/device.hpp"
#include "loader/device/targets.hpp"

namespace sluice {

class LaneStreams {
 public:
  /// What the plan fills with zeros is filled when this returns. `kernel` may be nullptr where `scratch_bytes` is 0:
  /// then nothing needs it. All outlive it. REQUIRES: the context is current. Throws Error{out_of_memory,
  /// device_unavailable}.
  LaneStreams(const Context& context, const DeliveryKernel* kernel, std::uint64_t scratch_bytes,
              const LaneContext& lane);
  /// Waits for what was queued.
  ~LaneStreams();
  LaneStreams(const LaneStreams&) = delete;
  LaneStreams& operator=(const LaneStreams&) = delete;

  /// Queues the work, and behind it `end`; counts in `done` what that took. Allocates nothing that it cannot do
  /// without. Throws Error{device_unavailable}, and then some of it may be queued.
  void queue(const LaneWork& work, const Event& end, LaneDone& done);
  /// Hands the spans that have ended by now to the tracer.
  void collect_trace() noexcept { trace_.collect(); }

 private:
  struct ScratchSlab {
    explicit ScratchSlab(const Context& context) : copied(context), delivered(context) {}
    Event copied;     // the last extent is in it
    Event delivered;  // and out of it
  };

  DeliveryTable write_table(const LaneWork& work) const noexcept;
  cu::DevicePointer base_of(std::uint32_t placement) const;
  void fill();
  void clear_scratch();
  void queue_rows(cu::DevicePointer target, std::uint64_t target_stride, const std::byte* source,
                  std::uint64_t source_stride, std::uint64_t bytes, std::uint64_t rows, LaneDone& done);
  void queue_copy(cu::DevicePointer target, const std::byte* source, std::uint64_t bytes, LaneDone& done);
  void copy(const LaneWork& work, LaneDone& done);
  void launch(const LaneWork& work, const DeliveryTable& table, LaneDone& done);

  const Context& context_;
  const DeliveryKernel* const kernel_;
  const PlanData& plan_;
  const Targets targets_;
  const DeviceMemory scratch_;
  const Stream copies_;
  const Stream kernels_;
  LaneTrace trace_;
  std::deque<ScratchSlab> scratch_slabs_;
  std::uint64_t launched_ = 0;
};

}  // namespace sluice
