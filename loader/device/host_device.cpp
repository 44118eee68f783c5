#include "loader/device/host_device.hpp"

#include <cstring>

#include "loader/base/memory.hpp"
#include "loader/base/mutex.hpp"
#include "loader/base/task_group.hpp"
#include "loader/device/array_cast.hpp"

namespace sluice {
namespace {

class HostArena final : public Arena {
 public:
  explicit HostArena(std::uint64_t bytes) : memory_(bytes, "tensors") { memory_.keep_from_fork(true); }

  std::byte* data() const noexcept override { return memory_.data(); }
  void populate(std::uint64_t offset, std::uint64_t bytes) noexcept override { memory_.populate(offset, bytes); }
  void end_reads() noexcept override { memory_.keep_from_fork(false); }
  void read_back(std::uint64_t offset, void* target, std::uint64_t bytes) const override {
    std::memcpy(target, memory_.data() + offset, bytes);
  }

 private:
  Mapping memory_;
};

/// Casts each row of `delivery`, out of the slab, into its place. Fresh memory is better touched here than ahead: the
/// zeros that the kernel puts there are then overwritten in the processor's caches.
void cast_rows(const PlanData& plan, const Delivery& delivery, const std::byte* slab, std::byte* arena) {
  const Dtype to = plan.placements[delivery.placement].dtype;
  const std::size_t count = delivery.run_bytes / (bits(delivery.source_dtype) / 8);
  for (std::uint32_t row = 0; row < delivery.rows; ++row) {
    cast_elements(delivery.source_dtype, slab + delivery.source_offset + std::size_t{row} * delivery.source_stride, to,
                  arena + delivery.target_offset + row * delivery.target_stride, count);
  }
}

/// Everything that one extent brings to the host.
struct Place {
  const PlanData& plan;
  const std::byte* slab;
  std::byte* arena;
  LaneDone& done;

  void operator()(const Copy& copy) {
    std::memcpy(arena + copy.target_offset, slab + copy.source_offset, copy.bytes);
    ++done.copies;
  }
  void operator()(const Delivery& delivery) {
    cast_rows(plan, delivery, slab, arena);
    ++done.launches;
  }
};

class HostLane final : public Lane {
 public:
  HostLane(const PlanData& plan, Arena& arena, Wakeup& wakeup, Tracer& tracer, Workers& workers)
      : plan_(plan), arena_(arena), wakeup_(wakeup), tracer_(tracer), tasks_(workers) {}

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

  bool order(CUstream_st*, std::span<const Extent>) override { return false; }

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
      coalesce(plan_, plan_.deliveries_of(*work.part), Place{plan_, work.slab, arena_.data(), done});
    }
    const MutexLock lock(mutex_);
    finished_.push_back(done);
    wakeup_.notify();
  }

  const PlanData& plan_;
  Arena& arena_;
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

std::unique_ptr<Lane> HostDevice::open_lane(const PlanData& plan, Arena& arena, Wakeup& wakeup, Tracer& tracer) {
  return std::make_unique<HostLane>(plan, arena, wakeup, tracer, workers_);
}

}  // namespace sluice
