#include "loader/device/host_device.hpp"

#include <condition_variable>
#include <cstring>
#include <mutex>

#include "loader/base/memory.hpp"
#include "loader/device/array_cast.hpp"

namespace sluice {
namespace {

class HostArena final : public Arena {
 public:
  explicit HostArena(std::uint64_t bytes) : memory_(bytes, "tensors") {}

  std::byte* data() const noexcept override { return memory_.data(); }
  void populate(std::uint64_t offset, std::uint64_t bytes) noexcept override { memory_.populate(offset, bytes); }
  void read_back(std::uint64_t offset, void* target, std::uint64_t bytes) const override {
    std::memcpy(target, memory_.data() + offset, bytes);
  }

 private:
  Mapping memory_;
};

/// Casts each row of `delivery`, out of the slab, into its place. Fresh memory is better touched here than ahead: the
/// zeros that the kernel puts there are then overwritten in the processor's caches.
void cast_rows(const PlanData& plan, const Delivery& delivery, const std::byte* slab, std::byte* arena) {
  const Placement& placement = plan.placements[delivery.placement];
  const Dtype from = plan.catalogue->tensors[placement.tensor].dtype;
  const std::size_t count = delivery.run_bytes / (bits(from) / 8);
  for (std::uint32_t row = 0; row < delivery.rows; ++row) {
    cast_elements(from, slab + delivery.source_offset + std::size_t{row} * delivery.source_stride, placement.dtype,
                  arena + delivery.target_offset + row * delivery.target_stride, count);
  }
}

/// Everything that one extent brings to the host.
struct Place {
  const PlanData& plan;
  const std::byte* slab;
  std::byte* arena;
  ExtentCost cost;

  void operator()(const Copy& copy) {
    std::memcpy(arena + copy.target_offset, slab + copy.source_offset, copy.bytes);
    ++cost.copies;
  }
  void operator()(const Delivery& delivery) {
    cast_rows(plan, delivery, slab, arena);
    ++cost.launches;
  }
};

class HostLane final : public Lane {
 public:
  HostLane(const PlanData& plan, Arena& arena, Wakeup& wakeup, Tracer& tracer, Workers& workers)
      : plan_(plan), arena_(arena), wakeup_(wakeup), tracer_(tracer), workers_(workers) {}

  ~HostLane() override {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [this] { return in_flight_ == 0; });
  }

  void deliver(const LaneWork& work) override {
    {
      const std::lock_guard lock(mutex_);
      ++in_flight_;
    }
    // Extents of one load go to disjoint places, so their order does not matter: whichever worker is free takes the
    // next.
    workers_.run([this, work] {
      Place place{plan_, work.slab, arena_.data(), {}};
      {
        const Tracer::Scope scope(tracer_, {.what = Span::What::deliver,
                                            .row = Tracer::host,
                                            .extent = plan_.index_of(*work.extent),
                                            .tensors = static_cast<std::uint32_t>(work.deliveries.size()),
                                            .bytes = work.extent->bytes});
        coalesce(plan_, work.deliveries, place);
      }
      const std::lock_guard lock(mutex_);
      finished_.push_back({work.tag, place.cost});
      wakeup_.notify();
      if (--in_flight_ == 0) idle_.notify_all();  // under the lock: the lane may be gone as soon as it is let go
    });
  }

  bool order(CUstream_st*, std::span<const Extent>) override { return false; }

  void collect(std::vector<LaneDone>& done) override {
    const std::lock_guard lock(mutex_);
    done.insert(done.end(), finished_.begin(), finished_.end());
    finished_.clear();
  }

 private:
  const PlanData& plan_;
  Arena& arena_;
  Wakeup& wakeup_;
  Tracer& tracer_;
  Workers& workers_;
  std::mutex mutex_;
  std::condition_variable idle_;
  std::uint32_t in_flight_ = 0;
  std::vector<LaneDone> finished_;
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
