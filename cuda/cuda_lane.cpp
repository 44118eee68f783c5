#include "cuda/cuda_lane.hpp"

#include <algorithm>
#include <cassert>
#include <iterator>

#include "cuda/delivery_table.hpp"
#include "cuda/stream_mark.hpp"
#include "loader/base/thread.hpp"
#include "loader/plan/gather.hpp"
#include "loader/plan/kernel_table.hpp"

namespace sluice {

static_assert(sizeof(Piece) == table_entry_bytes, "the plan leaves room for the table in the slab");

CudaLane::CudaLane(const Context& context, const DeliveryKernel* kernel, std::uint64_t scratch_bytes,
                   const LaneContext& lane)
    : context_(context),
      kernel_(kernel),
      plan_(lane.plan),
      wakeup_(lane.wakeup),
      targets_{lane.arena.data(), &lane.bindings},
      scratch_(context, scratch_bytes),
      copies_(context),
      kernels_(context),
      trace_(context, lane.plan, lane.tracer) {
  for (std::uint64_t i = 0; i < scratch_bytes / plan_.slab_bytes; ++i) scratch_slabs_.emplace_back(context);
  if (lane.after != nullptr) {
    const auto& mark = static_cast<const CudaStreamMark&>(*lane.after);
    mark.hold_back(copies_);
    mark.hold_back(kernels_);
  }
  fill();
  clear_scratch();
  waiter_ = start_thread("sluice-cuda", [this] { wait_in_order(); });
}

CudaLane::~CudaLane() {
  {
    const MutexLock lock(mutex_);
    closing_ = true;
  }
  queued_.notify_all();
  waiter_.join();
  // After an error the waiter has waited for nothing more; and what was queued last may have no event.
  with_context(context_, [this] {
    ignore(context_.driver().cuStreamSynchronize(copies_.handle()));
    ignore(context_.driver().cuStreamSynchronize(kernels_.handle()));
    trace_.collect();
  });
}

void CudaLane::deliver(const LaneWork& work) {
  const CurrentContext current(context_);
  Works queued = take_work();
  Work& mine = queued.front();
  mine.number = delivered_++;
  mine.launched = work.part->goes_to_scratch();
  mine.done = {work.tag, work.part, 0, 0};
  if (mine.launched) {
    launch(work, mine.done);
    mine.end.record(kernels_);
  } else {
    copy(work, mine.done);
    mine.end.record(copies_);
  }
  // From here on nothing can fail: what was queued is counted.
  const MutexLock lock(mutex_);
  in_flight_.splice(in_flight_.end(), queued);
  queued_.notify_one();
}

cu::DevicePointer CudaLane::base_of(std::uint32_t placement) const {
  return reinterpret_cast<cu::DevicePointer>(targets_.base_of(plan_.placements[placement]));
}

/// What nobody delivers and must be zero: done when this returns, so that it is there when tensors are published.
void CudaLane::fill() {
  bool filled = false;
  for (const Fill& fill : plan_.fills) {
    const Placement& placement = plan_.placements[fill.placement];
    if (plan_.devices[placement.device] != cuda(context_.ordinal())) continue;
    const cu::DevicePointer target = base_of(fill.placement) + placement.arena_offset + fill.offset;
    if (fill.rows == 1) {
      context_.check(context_.driver().cuMemsetD8Async(target, 0, fill.run_bytes, copies_.handle()), "cuMemsetD8Async");
    } else {
      context_.check(
          context_.driver().cuMemsetD2D8Async(target, fill.stride, 0, fill.run_bytes, fill.rows, copies_.handle()),
          "cuMemsetD2D8Async");
    }
    filled = true;
  }
  if (filled) copies_.synchronize();
}

/// The kernel reads whole vectors, and with them what lies beside a gathered row: let it be defined.
void CudaLane::clear_scratch() {
  const bool gathers = std::any_of(plan_.parts.begin(), plan_.parts.end(), [this](const Part& part) {
    return part.gathered && plan_.devices[part.device] == cuda(context_.ordinal());
  });
  if (!gathers) return;
  context_.check(context_.driver().cuMemsetD8Async(scratch_.pointer(), 0, scratch_slabs_.size() * plan_.slab_bytes,
                                                   copies_.handle()),
                 "cuMemsetD8Async");
}

void CudaLane::queue_copy(cu::DevicePointer target, const std::byte* source, std::uint64_t bytes, LaneDone& done) {
  context_.check(context_.driver().cuMemcpyHtoDAsync(target, source, bytes, copies_.handle()), "cuMemcpyHtoDAsync");
  ++done.copies;
}

void CudaLane::queue_rows(cu::DevicePointer target, std::uint64_t target_stride, const std::byte* source,
                          std::uint64_t source_stride, std::uint64_t bytes, std::uint64_t rows, LaneDone& done) {
  if (rows == 1) return queue_copy(target, source, bytes, done);
  if (target_stride > cu::pitch_max || source_stride > cu::pitch_max) {
    for (std::uint64_t row = 0; row < rows; ++row) {
      queue_copy(target + row * target_stride, source + row * source_stride, bytes, done);
    }
    return;
  }
  cu::Copy2D copy;
  copy.source_type = cu::MemoryType::host;
  copy.source_host = source;
  copy.source_pitch = source_stride;
  copy.target_type = cu::MemoryType::device;
  copy.target_device = target;
  copy.target_pitch = target_stride;
  copy.width_bytes = bytes;
  copy.height = rows;
  context_.check(context_.driver().cuMemcpy2DAsync(&copy, copies_.handle()), "cuMemcpy2DAsync");
  ++done.copies;
}

void CudaLane::copy(const LaneWork& work, LaneDone& done) {
  struct Copies {
    CudaLane& lane;
    const std::byte* slab;
    LaneDone& done;
    void operator()(const Copy& copy) const {
      lane.queue_rows(lane.base_of(copy.placement) + copy.target_offset, copy.target_stride, slab + copy.source_offset,
                      copy.source_stride, copy.bytes, copy.rows, done);
    }
    void operator()(const Delivery&) const { assert(false); }  // a cast goes to scratch
  };
  const LaneTrace::Scope scope(trace_, copies_, Span::What::copy, work);
  coalesce(plan_, plan_.deliveries_of(*work.part), Copies{*this, work.slab, done});
}

void CudaLane::launch(const LaneWork& work, LaneDone& done) {
  const Part& part = *work.part;
  const std::span<const Delivery> deliveries = plan_.deliveries_of(part);
  assert(part.table_begin + table_bytes(deliveries.size()) <= plan_.slab_bytes);
  const auto table =
      write_delivery_table(plan_, targets_, deliveries, {work.slab + part.table_begin, table_bytes(deliveries.size())});
  const std::uint64_t table_end = part.table_begin + table_bytes(table->pieces);

  const std::uint64_t index = launched_++ % scratch_slabs_.size();
  const ScratchSlab& slab = scratch_slabs_[index];
  const cu::DevicePointer scratch = scratch_.pointer() + index * plan_.slab_bytes;
  copies_.wait_for(slab.delivered.handle());  // of an event never recorded: waits for nothing
  {
    const LaneTrace::Scope scope(trace_, copies_, Span::What::copy, work);
    const auto copy = [&](std::uint64_t begin, std::uint64_t end) {
      queue_copy(scratch + begin, work.slab + begin, end - begin, done);
    };
    if (part.gathered) {
      gather(deliveries, [&](const Gather& some) {
        queue_rows(scratch + some.offset, some.stride, work.slab + some.offset, some.stride, some.bytes, some.rows,
                   done);
      });
      copy(part.table_begin, table_end);
    } else if (part.copies == 1) {
      copy(part.scratch_begin, table_end);
    } else {
      copy(part.scratch_begin, part.scratch_end);
      copy(part.table_begin, table_end);
    }
  }
  slab.copied.record(copies_);
  kernels_.wait_for(slab.copied.handle());
  {
    const LaneTrace::Scope scope(trace_, kernels_, Span::What::deliver, work);
    kernel_->launch(scratch, scratch + part.table_begin, *table, reinterpret_cast<cu::DevicePointer>(targets_.arena),
                    kernels_);
    ++done.launches;
  }
  slab.delivered.record(kernels_);
}

/// A list of one.
CudaLane::Works CudaLane::take_work() {
  Works taken;
  {
    const MutexLock lock(mutex_);
    const auto usable = std::find_if(free_.begin(), free_.end(), [](const Work& work) { return work.orders == 0; });
    if (usable != free_.end()) taken.splice(taken.end(), free_, usable);
  }
  if (taken.empty()) taken.emplace_back(context_);
  return taken;
}

bool CudaLane::order(CUstream_st* stream, std::uint64_t count) {
  const CurrentContext current(context_);
  /// Work under way, whose events are not recorded anew while this lives.
  struct Orders {
    explicit Orders(CudaLane& its_lane) : lane(its_lane) {}
    ~Orders() {
      const MutexLock lock(lane.mutex_);
      for (Work* const work : works) --work->orders;
    }
    CudaLane& lane;
    std::vector<Work*> works;  // the last of each of the lane's streams, which work in order
  } ordered(*this);
  {
    const MutexLock lock(mutex_);
    if (error_ != nullptr) return false;  // the load is about to say so
    ordered.works.reserve(2);
    for (const bool launched : {false, true}) {
      const auto last = std::find_if(in_flight_.rbegin(), in_flight_.rend(), [&](const Work& work) {
        return work.number < count && work.launched == launched;
      });
      if (last == in_flight_.rend()) continue;
      ordered.works.push_back(&*last);
      ++last->orders;
    }
  }
  // A graph is launched again and again, and depends on nothing outside of it: the host waits instead.
  if (is_capturing(stream)) return false;
  for (const Work* const work : ordered.works) {
    context_.check(context_.driver().cuStreamWaitEvent(stream, work->end.handle(), 0), "cuStreamWaitEvent");
  }
  return true;
}

bool CudaLane::is_capturing(CUstream_st* stream) const {
  cu::CaptureStatus status = cu::CaptureStatus::none;
  const cu::Result result = context_.driver().cuStreamIsCapturing(stream, &status);
  // The default stream of a context in which another stream captures: nothing may be queued there now.
  if (result == cu::Result::stream_capture_implicit) return true;
  context_.check(result, "cuStreamIsCapturing");
  return status != cu::CaptureStatus::none;
}

void CudaLane::collect(std::vector<LaneDone>& done) {
  const MutexLock lock(mutex_);
  done.reserve(done.size() + finished_.size());
  for (const Work& work : finished_) done.push_back(work.done);
  free_.splice(free_.end(), finished_);
  if (error_ != nullptr) std::rethrow_exception(error_);
}

void CudaLane::wait_in_order() noexcept {
  try {
    const CurrentContext current(context_);
    while (wait_for_work()) {
      context_.check(context_.driver().cuEventSynchronize(end_of(0)), "cuEventSynchronize");
      // One wakeup for all that have ended by now.
      std::size_t ended = 1;
      for (cu::Event end = end_of(ended); end != nullptr; end = end_of(ended)) {
        if (context_.driver().cuEventQuery(end) != cu::Result::success) break;
        ++ended;
      }
      finish(ended);
      wakeup_.notify();
      trace_.collect();
    }
  } catch (...) {
    const MutexLock lock(mutex_);
    error_ = std::current_exception();
    wakeup_.notify();
  }
}

/// False once the lane closes and all work has ended.
bool CudaLane::wait_for_work() {
  MutexLock lock(mutex_);
  while (!closing_ && in_flight_.empty()) queued_.wait(lock);
  return !in_flight_.empty();
}

/// The event after the nth work under way; nullptr where there are no more than `nth`.
cu::Event CudaLane::end_of(std::size_t nth) {
  const MutexLock lock(mutex_);
  return nth < in_flight_.size() ? std::next(in_flight_.begin(), static_cast<std::ptrdiff_t>(nth))->end.handle()
                                 : nullptr;
}

/// The first `count` have ended. Allocates nothing.
void CudaLane::finish(std::size_t count) {
  const MutexLock lock(mutex_);
  const auto end = std::next(in_flight_.begin(), static_cast<std::ptrdiff_t>(count));
  finished_.splice(finished_.end(), in_flight_, in_flight_.begin(), end);
}

}  // namespace sluice
