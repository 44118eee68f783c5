// SlabMemory: the memory of all slabs, in huge pages where there are any; pinned where a device copies out of it.
//
// Pinning goes at 1 to 15 GB/s, so only a first chunk is pinned before reading may begin, and others when they are
// about to be needed: a worker pins the next one, and ready_bytes() grows. Where pinning is refused there are two ways
// on, both of which refusal() tells: of the first chunk, memory that the driver allocates, less of it if need be; of a
// later one, what is ready by then is all. Threads: made, grown and let go of by the engine's, which has others call
// the pinner; the rest by any.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "loader/base/memory.hpp"
#include "loader/base/mutex.hpp"
#include "loader/base/task_group.hpp"
#include "loader/base/wakeup.hpp"
#include "loader/device/pinner.hpp"

namespace sluice {

class SlabMemory {
 public:
  /// For `count` slabs. With a `pinner` it is pinned, and lies on its NUMA node; nullptr: ordinary memory, all of it
  /// ready, touched only when it is used. `wakeup` is notified when more is ready. Throws Error{out_of_memory}, or
  /// what the pinner throws if it can pin no memory at all.
  SlabMemory(std::uint64_t slab_bytes, std::uint32_t count, std::shared_ptr<Pinner> pinner, Workers& workers,
             Wakeup& wakeup);
  /// Waits for the pinning of a chunk.
  ~SlabMemory();
  SlabMemory(const SlabMemory&) = delete;
  SlabMemory& operator=(const SlabMemory&) = delete;

  /// All of it, whole slabs: what was asked for, or less after a refusal.
  std::span<std::byte> bytes() const noexcept { return memory_; }
  /// How much from the beginning may be used by now: whole slabs, and at least one.
  std::uint64_t ready_bytes() const noexcept { return ready_; }
  /// Has a worker make more ready, if there is more, and none is at it. A hint: without memory for that, nothing is
  /// done.
  void grow() noexcept;
  bool pinned() const noexcept { return pinner_ != nullptr; }
  /// Why less, or other, memory is pinned than was asked for; empty where nothing was refused.
  std::string refusal() const;
  /// Of pinning, so far.
  double pinning_seconds() const noexcept { return pinning_seconds_; }

 private:
  std::span<std::byte> chunk(std::uint64_t offset) const noexcept;
  void pin_first();
  void pin_chunk(std::uint64_t offset);
  void pin_next() noexcept;
  void unpin() noexcept;
  void allocate_pinned(const std::string& refusal);

  const std::uint64_t slab_bytes_;
  const std::uint64_t chunk_bytes_;
  const std::shared_ptr<Pinner> pinner_;
  Wakeup& wakeup_;
  Mapping mapping_;              // of no bytes where the pinner allocated the memory
  std::span<std::byte> memory_;  // in the mapping, or the pinner's
  std::atomic<std::uint64_t> ready_ = 0;
  std::atomic<double> pinning_seconds_ = 0;

  mutable Mutex mutex_;
  std::string refusal_ SLUICE_GUARDED_BY(mutex_);
  std::atomic<bool> growing_ = false;  // for good, once a chunk was refused
  TaskGroup tasks_;                    // last: pin_next() uses all of the above
};

}  // namespace sluice
