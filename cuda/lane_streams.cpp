#include "cuda/lane_streams.hpp"

#include <algorithm>
#include <cassert>
#include <span>

#include "cuda/stream_mark.hpp"
#include "loader/plan/gather.hpp"
#include "loader/plan/kernel_table.hpp"

namespace sluice {

static_assert(sizeof(Piece) == table_entry_bytes, "the plan leaves room for the table in the slab");

LaneStreams::LaneStreams(const Context& context, const DeliveryKernel* kernel, std::uint64_t scratch_bytes,
                         const LaneContext& lane)
    : context_(context),
      kernel_(kernel),
      plan_(lane.plan),
      targets_{lane.arena.data(), &lane.bindings},
      scratch_(context, scratch_bytes),
      copies_{Stream(context), Stream(context)},
      kernels_(context),
      trace_(context, lane.plan, lane.tracer) {
  for (std::uint64_t i = 0; i < scratch_bytes / plan_.slab_bytes; ++i) scratch_slabs_.emplace_back(context);
  if (lane.after != nullptr) {
    const auto& mark = static_cast<const CudaStreamMark&>(*lane.after);
    for (const Stream& stream : copies_) mark.hold_back(stream);
    mark.hold_back(kernels_);
  }
  fill();
  clear_scratch();
}

LaneStreams::~LaneStreams() {
  // After an error nobody has waited for the rest; and what was queued last may have no event.
  with_context(context_, [this] {
    for (const Stream& stream : copies_) ignore(context_.driver().cuStreamSynchronize(stream.handle()));
    ignore(context_.driver().cuStreamSynchronize(kernels_.handle()));
    trace_.collect();
  });
}

void LaneStreams::queue(const LaneWork& work, LaneDone& done) {
  launches_ = work.part->goes_to_scratch();
  if (launches_) {
    launch(work, write_table(work), done);
  } else {
    copy(work, done);
  }
}

unsigned LaneStreams::end_batch(const Event& end) {
  const unsigned stream = launches_ ? copy_streams : turn_;
  end.record(launches_ ? kernels_ : turn());
  turn_ = (turn_ + 1) % copy_streams;
  return stream;
}

/// Behind the extent, where no other lane writes or copies.
DeliveryTable LaneStreams::write_table(const LaneWork& work) const noexcept {
  const Part& part = *work.part;
  const std::span<const Delivery> deliveries = plan_.deliveries_of(part);
  assert(part.table_begin + table_bytes(deliveries.size()) <= plan_.slab_bytes);
  return *write_delivery_table(plan_, targets_, deliveries,
                               {work.slab + part.table_begin, table_bytes(deliveries.size())});
}

cu::DevicePointer LaneStreams::base_of(std::uint32_t placement) const {
  return reinterpret_cast<cu::DevicePointer>(targets_.base_of(plan_.placements[placement]));
}

/// What nobody delivers and must be zero: done when this returns, so that it is there when tensors are published.
void LaneStreams::fill() {
  bool filled = false;
  for (const Fill& fill : plan_.fills) {
    const Placement& placement = plan_.placements[fill.placement];
    if (plan_.devices[placement.device] != cuda(context_.ordinal()) || is_bound_as_zeros(plan_, placement)) continue;
    const cu::DevicePointer target = base_of(fill.placement) + placement.arena_offset + fill.offset;
    if (fill.rows == 1) {
      context_.check(context_.driver().cuMemsetD8Async(target, 0, fill.run_bytes, turn().handle()), "cuMemsetD8Async");
    } else {
      context_.check(
          context_.driver().cuMemsetD2D8Async(target, fill.stride, 0, fill.run_bytes, fill.rows, turn().handle()),
          "cuMemsetD2D8Async");
    }
    filled = true;
  }
  if (filled) turn().synchronize();
}

/// The kernel reads whole vectors, and with them what lies beside a gathered row: let it be defined.
void LaneStreams::clear_scratch() {
  const bool gathers = std::any_of(plan_.parts.begin(), plan_.parts.end(), [this](const Part& part) {
    return part.gathered && plan_.devices[part.device] == cuda(context_.ordinal());
  });
  if (!gathers) return;
  context_.check(context_.driver().cuMemsetD8Async(scratch_.pointer(), 0, scratch_slabs_.size() * plan_.slab_bytes,
                                                   turn().handle()),
                 "cuMemsetD8Async");
  for (const ScratchSlab& slab : scratch_slabs_) slab.delivered.record(turn());  // what waits for it waits for this
}

void LaneStreams::queue_copy(cu::DevicePointer target, const std::byte* source, std::uint64_t bytes, LaneDone& done) {
  context_.check(context_.driver().cuMemcpyHtoDAsync(target, source, bytes, turn().handle()), "cuMemcpyHtoDAsync");
  ++done.copies;
}

void LaneStreams::queue_rows(cu::DevicePointer target, std::uint64_t target_stride, const std::byte* source,
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
  context_.check(context_.driver().cuMemcpy2DAsync(&copy, turn().handle()), "cuMemcpy2DAsync");
  ++done.copies;
}

void LaneStreams::copy(const LaneWork& work, LaneDone& done) {
  struct Copies {
    LaneStreams& streams;
    const std::byte* slab;
    LaneDone& done;
    void operator()(const Copy& copy) const {
      streams.queue_rows(streams.base_of(copy.placement) + copy.target_offset, copy.target_stride,
                         slab + copy.source_offset, copy.source_stride, copy.bytes, copy.rows, done);
    }
    void operator()(const Delivery&) const { assert(false); }  // a cast goes to scratch
  };
  const LaneTrace::Scope scope(trace_, turn(), Span::What::copy, work);
  coalesce(plan_, plan_.deliveries_of(*work.part), Copies{*this, work.slab, done});
}

void LaneStreams::launch(const LaneWork& work, const DeliveryTable& table, LaneDone& done) {
  const Part& part = *work.part;
  const std::uint64_t table_end = part.table_begin + table_bytes(table.pieces);

  const std::uint64_t index = launched_++ % scratch_slabs_.size();
  const ScratchSlab& slab = scratch_slabs_[index];
  const cu::DevicePointer scratch = scratch_.pointer() + index * plan_.slab_bytes;
  turn().wait_for(slab.delivered.handle());  // of an event never recorded: waits for nothing
  {
    const LaneTrace::Scope scope(trace_, turn(), Span::What::copy, work);
    const auto copy = [&](std::uint64_t begin, std::uint64_t end) {
      queue_copy(scratch + begin, work.slab + begin, end - begin, done);
    };
    if (part.gathered) {
      gather(plan_.deliveries_of(part), [&](const Gather& some) {
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
  slab.copied.record(turn());
  kernels_.wait_for(slab.copied.handle());
  {
    const LaneTrace::Scope scope(trace_, kernels_, Span::What::deliver, work);
    kernel_->launch(scratch, scratch + part.table_begin, table, reinterpret_cast<cu::DevicePointer>(targets_.arena),
                    kernels_);
    ++done.launches;
  }
  slab.delivered.record(kernels_);
}

}  // namespace sluice
