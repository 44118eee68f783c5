#include "cuda/cuda_lane.hpp"

#include <cassert>
#include <utility>

#include "cuda/delivery_table.hpp"
#include "loader/base/thread.hpp"

namespace sluice {

static_assert(sizeof(Piece) == table_entry_bytes && table_alignment_bytes == delivery_table_alignment_bytes,
              "the plan leaves room for the table in the slab");

CudaLane::CudaLane(const Context& context, const DeliveryKernel* kernel, std::uint64_t scratch_bytes,
                   const PlanData& plan, Arena& arena, Wakeup& wakeup, Tracer& tracer)
    : context_(context),
      kernel_(kernel),
      plan_(plan),
      wakeup_(wakeup),
      arena_(reinterpret_cast<cu::DevicePointer>(arena.data())),
      scratch_(context, scratch_bytes),
      copies_(context),
      kernels_(context),
      trace_(context, plan, tracer) {
  for (std::uint64_t i = 0; i < scratch_bytes / plan.slab_bytes; ++i) scratch_slabs_.emplace_back(context);
  waiter_ = start_thread("sluice-cuda", [this] { wait_in_order(); });
}

CudaLane::~CudaLane() {
  {
    const std::lock_guard lock(mutex_);
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
  const ExtentCost cost = cost_of(plan_, *work.extent, work.deliveries);
  std::unique_ptr<Event> end = take_event();
  if (cost.launches == 0) {
    copy(work);
    end->record(copies_);
  } else {
    launch(work);
    end->record(kernels_);
  }
  const std::lock_guard lock(mutex_);
  in_flight_.push_back({std::move(end), work.extent, {work.tag, cost}});
  queued_.notify_one();
}

void CudaLane::copy(const LaneWork& work) {
  struct Copies {
    const CudaLane& lane;
    const std::byte* slab;
    void operator()(const Copy& copy) const {
      lane.context_.check(
          lane.context_.driver().cuMemcpyHtoDAsync(lane.arena_ + copy.target_offset, slab + copy.source_offset,
                                                   copy.bytes, lane.copies_.handle()),
          "cuMemcpyHtoDAsync");
    }
    void operator()(const Delivery&) const { assert(false); }  // cost_of() would have asked for a launch
  };
  const LaneTrace::Scope scope(trace_, copies_, Span::What::copy, work);
  coalesce(plan_, work.deliveries, Copies{*this, work.slab});
}

void CudaLane::launch(const LaneWork& work) {
  // Each device's table has a place of its own behind the extent, so that none is written while another is copied.
  const ToScratch part = to_scratch(plan_, *work.extent, work.deliveries);
  assert(part.table_begin + table_bytes(work.deliveries.size()) <= plan_.slab_bytes);
  const auto table =
      write_delivery_table(plan_, work.deliveries, {work.slab + part.table_begin, table_bytes(work.deliveries.size())});
  const std::uint64_t table_end = part.table_begin + table_bytes(table->pieces);

  const std::uint64_t index = launched_++ % scratch_slabs_.size();
  const ScratchSlab& slab = scratch_slabs_[index];
  const cu::DevicePointer scratch = scratch_.pointer() + index * plan_.slab_bytes;
  copies_.wait_for(slab.delivered.handle());  // of an event never recorded: waits for nothing
  {
    const LaneTrace::Scope scope(trace_, copies_, Span::What::copy, work);
    const auto copy = [&](std::uint64_t begin, std::uint64_t end) {
      context_.check(
          context_.driver().cuMemcpyHtoDAsync(scratch + begin, work.slab + begin, end - begin, copies_.handle()),
          "cuMemcpyHtoDAsync");
    };
    if (part.in_one_copy()) {
      copy(part.begin, table_end);
    } else {
      copy(part.begin, part.end);
      copy(part.table_begin, table_end);
    }
  }
  slab.copied.record(copies_);
  kernels_.wait_for(slab.copied.handle());
  {
    const LaneTrace::Scope scope(trace_, kernels_, Span::What::deliver, work);
    kernel_->launch(scratch, scratch + part.table_begin, *table, arena_, kernels_);
  }
  slab.delivered.record(kernels_);
}

std::unique_ptr<Event> CudaLane::take_event() {
  {
    const std::lock_guard lock(mutex_);
    if (!free_events_.empty()) {
      std::unique_ptr<Event> event = std::move(free_events_.back());
      free_events_.pop_back();
      return event;
    }
  }
  return std::make_unique<Event>(context_);
}

bool CudaLane::order(CUstream_st* stream, std::span<const Extent> extents) {
  const CurrentContext current(context_);
  // Under the lock no event is taken for something else: a stream waits for what an event recorded last.
  const std::lock_guard lock(mutex_);
  if (error_ != nullptr) return false;  // the load is about to say so
  for (const InFlight& work : in_flight_) {
    if (work.extent < extents.data() || work.extent >= extents.data() + extents.size()) continue;
    context_.check(context_.driver().cuStreamWaitEvent(stream, work.end->handle(), 0), "cuStreamWaitEvent");
  }
  return true;
}

void CudaLane::collect(std::vector<LaneDone>& done) {
  const std::lock_guard lock(mutex_);
  done.insert(done.end(), finished_.begin(), finished_.end());
  finished_.clear();
  if (error_ != nullptr) std::rethrow_exception(error_);
}

void CudaLane::wait_in_order() noexcept {
  std::unique_lock lock(mutex_);
  try {
    const CurrentContext current(context_);
    for (;;) {
      queued_.wait(lock, [this] { return closing_ || !in_flight_.empty(); });
      if (in_flight_.empty()) return;
      const cu::Event end = in_flight_.front().end->handle();
      lock.unlock();
      const cu::Result result = context_.driver().cuEventSynchronize(end);
      lock.lock();
      context_.check(result, "cuEventSynchronize");
      finish_first();
      // One wakeup for all that have ended by now.
      while (!in_flight_.empty() &&
             context_.driver().cuEventQuery(in_flight_.front().end->handle()) == cu::Result::success) {
        finish_first();
      }
      wakeup_.notify();
      lock.unlock();
      trace_.collect();
      lock.lock();
    }
  } catch (...) {
    if (!lock.owns_lock()) lock.lock();
    error_ = std::current_exception();
    wakeup_.notify();
  }
}

void CudaLane::finish_first() {
  finished_.push_back(in_flight_.front().done);
  free_events_.push_back(std::move(in_flight_.front().end));
  in_flight_.pop_front();
}

}  // namespace sluice
