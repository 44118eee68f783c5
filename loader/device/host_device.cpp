#include "loader/device/host_device.hpp"

#include <cstring>

#include "loader/base/memory.hpp"
#include "loader/base/mutex.hpp"
#include "loader/base/task_group.hpp"
#include "loader/device/array_cast.hpp"
#include "loader/device/stream_copy.hpp"
#include "loader/device/targets.hpp"

namespace sluice {
namespace {

class HostArena final : public Arena {
 public:
  explicit HostArena(std::uint64_t bytes) : memory_(bytes, "tensors") { memory_.keep_from_fork(true); }

  std::byte* data() const noexcept override { return memory_.data(); }
  void populate(std::uint64_t offset, std::uint64_t bytes) noexcept override { memory_.populate(offset, bytes); }
  /// The kernel brings fresh memory, of zeros, when it is touched.
  void bind(std::uint64_t, std::uint64_t, bool) override {}
  void unbind(std::uint64_t offset, std::uint64_t bytes) noexcept override { memory_.let_go(offset, bytes); }
  void end_reads() noexcept override { memory_.keep_from_fork(false); }
  void read_back(const void* source, void* target, std::uint64_t bytes) const override {
    std::memcpy(target, source, bytes);
  }

 private:
  Mapping memory_;
};

/// Memory of the caller's, which comes as it is.
class CallersArena final : public Arena {
 public:
  explicit CallersArena(std::byte* data) : data_(data) {}

  std::byte* data() const noexcept override { return data_; }
  void populate(std::uint64_t, std::uint64_t) noexcept override {}
  void read_back(const void* source, void* target, std::uint64_t bytes) const override {
    std::memcpy(target, source, bytes);
  }

 private:
  std::byte* const data_;
};

/// Elements of one size, whose copy is a load and a store.
template <typename Element>
void copy_elements(std::byte* target, std::uint64_t target_stride, const std::byte* source, std::uint64_t source_stride,
                   std::uint32_t count) {
  for (std::uint32_t i = 0; i < count; ++i) {
    std::memcpy(target + i * target_stride, source + i * source_stride, sizeof(Element));
  }
}

void copy_rows(const Copy& copy, std::byte* target, const std::byte* source) {
  switch (copy.bytes) {
    case 1:
      return copy_elements<std::uint8_t>(target, copy.target_stride, source, copy.source_stride, copy.rows);
    case 2:
      return copy_elements<std::uint16_t>(target, copy.target_stride, source, copy.source_stride, copy.rows);
    case 4:
      return copy_elements<std::uint32_t>(target, copy.target_stride, source, copy.source_stride, copy.rows);
    case 8:
      return copy_elements<std::uint64_t>(target, copy.target_stride, source, copy.source_stride, copy.rows);
    default:
      const bool streams = copy.bytes >= stream_bytes_min;
      for (std::uint64_t row = 0; row < copy.rows; ++row) {
        std::byte* const to = target + row * copy.target_stride;
        const std::byte* const from = source + row * copy.source_stride;
        if (streams) {
          stream_copy(to, from, copy.bytes);
        } else {
          std::memcpy(to, from, copy.bytes);
        }
      }
  }
}

/// Casts each row of `delivery`, out of the slab, into its place. Fresh memory is better touched here than ahead: the
/// zeros that the kernel puts there are then overwritten in the processor's caches.
void cast_rows(const Delivery& delivery, Dtype to, std::byte* target, const std::byte* source) {
  const std::size_t count = delivery.run_bytes / (bits(delivery.source_dtype) / 8);
  for (std::uint64_t row = 0; row < delivery.rows; ++row) {
    cast_elements(delivery.source_dtype, source + row * delivery.source_stride, to,
                  target + row * delivery.target_stride, count);
  }
}

/// Everything that one extent brings to the host.
struct Place {
  const PlanData& plan;
  const std::byte* slab;
  const Targets& targets;
  LaneDone& done;

  void operator()(const Copy& copy) {
    const Placement& placement = plan.placements[copy.placement];
    copy_rows(copy, targets.base_of(placement) + copy.target_offset, slab + copy.source_offset);
    ++done.copies;
  }
  void operator()(const Delivery& delivery) {
    const Placement& placement = plan.placements[delivery.placement];
    cast_rows(delivery, placement.dtype, targets.base_of(placement) + delivery.target_offset,
              slab + delivery.source_offset);
    ++done.launches;
  }
};

void fill(const PlanData& plan, const Targets& targets) {
  for (const Fill& fill : plan.fills) {
    const Placement& placement = plan.placements[fill.placement];
    if (plan.devices[placement.device].kind != DeviceId::Kind::host || is_bound_as_zeros(plan, placement)) continue;
    std::byte* const begin = targets.base_of(placement) + placement.arena_offset + fill.offset;
    for (std::uint64_t row = 0; row < fill.rows; ++row) std::memset(begin + row * fill.stride, 0, fill.run_bytes);
  }
}

class HostLane final : public Lane {
 public:
  HostLane(const LaneContext& context, const Targets& targets, Workers& workers)
      : plan_(context.plan), targets_(targets), wakeup_(context.wakeup), tracer_(context.tracer), tasks_(workers) {}

  void deliver(const LaneWork& work) override {
    {
      // Room for its end, which a worker marks and which must not fail.
      const MutexLock lock(mutex_);
      finished_.reserve(finished_.size() + in_flight_ + 1);
    }
    // Extents of one load go to disjoint places, so their order does not matter: whichever worker is free takes the
    // next.
    tasks_.run([this, work] { carry_out(work); });
    const MutexLock lock(mutex_);
    ++in_flight_;
  }

  bool order(CUstream_st*, std::uint64_t) override { return false; }

  void collect(std::vector<LaneDone>& done) override {
    const MutexLock lock(mutex_);
    done.insert(done.end(), finished_.begin(), finished_.end());
    in_flight_ -= finished_.size();
    finished_.clear();
  }

 private:
  void carry_out(const LaneWork& work) noexcept {
    LaneDone done{work.tag, work.part, 0, 0};
    {
      const Tracer::Scope scope(tracer_, {.what = Span::What::deliver,
                                          .row = Tracer::host,
                                          .extent = plan_.index_of(*work.extent),
                                          .tensors = work.part->delivery_count,
                                          .bytes = work.extent->bytes});
      coalesce(plan_, plan_.deliveries_of(*work.part), Place{plan_, work.slab, targets_, done});
      end_streams();
    }
    const MutexLock lock(mutex_);
    finished_.push_back(done);
    wakeup_.notify();
  }

  const PlanData& plan_;
  const Targets targets_;
  Wakeup& wakeup_;
  Tracer& tracer_;
  Mutex mutex_;
  std::size_t in_flight_ SLUICE_GUARDED_BY(mutex_) = 0;  // handed to the workers and not collected
  std::vector<LaneDone> finished_ SLUICE_GUARDED_BY(mutex_);
  TaskGroup tasks_;  // last: its tasks use all of the above
};

}  // namespace

std::uint64_t HostDevice::free_bytes() const {
  return available_memory_bytes();
}

std::shared_ptr<Arena> HostDevice::allocate(std::uint64_t bytes) {
  return std::make_shared<HostArena>(bytes);
}

std::shared_ptr<Arena> HostDevice::adopt(std::byte* data) {
  return std::make_shared<CallersArena>(data);
}

std::unique_ptr<Lane> HostDevice::open_lane(const LaneContext& context) {
  const Targets targets{context.arena.data(), &context.bindings};
  fill(context.plan, targets);
  return std::make_unique<HostLane>(context, targets, workers_);
}

}  // namespace sluice
