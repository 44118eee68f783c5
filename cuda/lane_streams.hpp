// LaneStreams: the streams of one lane, and what is queued in them.
//
//   copy streams     | copy | end | copy to scratch 0 | copy to scratch 1 | ...
//                    | copy | copy | end | copy to scratch 2 | ...
//   delivery stream                      | kernel on 0 | kernel on 2 | kernel on 1 | end | ...
//
// A few runs of bytes are copied straight into place. Anything else is copied to one of a few scratch slabs, its table
// behind it, and delivered from there by one kernel. Streams wait for each other by events; no thread waits for either.
//
// Works come in batches. A batch is queued on one of two copy streams, which take turns, and one event tells its end.
// Between two copies of one stream the link has a gap of some microseconds, more where an event lies between them: the
// other stream's copies fill it.
//
// Threads: one at a time, with the context current; but collect_trace(), which one other may call.
#pragma once

#include <array>
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
  static constexpr unsigned copy_streams = 2;
  static constexpr unsigned stream_count = copy_streams + 1;

  /// What the plan fills with zeros is filled when this returns. `kernel` may be nullptr where `scratch_bytes` is 0:
  /// then nothing needs it. All outlive it. REQUIRES: the context is current. Throws Error{out_of_memory,
  /// device_unavailable}.
  LaneStreams(const Context& context, const DeliveryKernel* kernel, std::uint64_t scratch_bytes,
              const LaneContext& lane);
  /// Waits for what was queued.
  ~LaneStreams();
  LaneStreams(const LaneStreams&) = delete;
  LaneStreams& operator=(const LaneStreams&) = delete;

  /// Queues the work; counts in `done` what that took. Either all works of a batch go to scratch or none does.
  /// Allocates nothing that it cannot do without. Throws Error{device_unavailable}, and then some of it may be queued.
  void queue(const LaneWork& work, LaneDone& done);
  /// Records `end` behind the batch: the works that were queued since the last call, at least one. Returns the stream,
  /// of `stream_count`, that they end on. Throws Error{device_unavailable}.
  unsigned end_batch(const Event& end);
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
  const Stream& turn() const noexcept { return copies_[turn_]; }
  void copy(const LaneWork& work, LaneDone& done);
  void launch(const LaneWork& work, const DeliveryTable& table, LaneDone& done);

  const Context& context_;
  const DeliveryKernel* const kernel_;
  const PlanData& plan_;
  const Targets targets_;
  const DeviceMemory scratch_;
  const std::array<Stream, copy_streams> copies_;
  const Stream kernels_;
  LaneTrace trace_;
  unsigned turn_ = 0;      // the copy stream of the batch
  bool launches_ = false;  // it goes to scratch
  std::deque<ScratchSlab> scratch_slabs_;
  std::uint64_t launched_ = 0;
};

}  // namespace sluice
