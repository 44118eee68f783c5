// SlabMemory: the memory of all slabs, in huge pages where there are any; pinned where a device copies out of it.
//
// Storage reads into it from the beginning, whatever becomes of the device. Once that is open, pin() has a worker pin
// what is in use by then, chunk by chunk, and of the rest a chunk when it is about to be needed, as pinning goes at 1
// to 15 GB/s:
//
//     before pin()   ready, all of it   storage may read into it, and nobody copies out of it
//     from then on   pinned <= ready    lanes may copy out of what is pinned; that a chunk is ready and not yet pinned
//                                       is a matter of milliseconds
//
// Where pinning is refused there are two ways on, both of which refusal() tells. Of the first chunk: nothing of this
// memory will do, was_refused(), until allocate() has put memory in its place that the driver allocates, less of it if
// need be. Of a later one: what is pinned by then is all, and what was read into the rest is_lost(). Threads: made,
// pinned, grown and let go of by the engine's, which has others call the pinner; the rest by any.
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
  /// For `count` slabs: ordinary memory, all of it ready, touched only when it is used. `wakeup` is notified when more
  /// is pinned, or refused. Throws Error{out_of_memory}.
  SlabMemory(std::uint64_t slab_bytes, std::uint32_t count, Workers& workers, Wakeup& wakeup);
  /// Waits for the pinning of what is in use.
  ~SlabMemory();
  SlabMemory(const SlabMemory&) = delete;
  SlabMemory& operator=(const SlabMemory&) = delete;

  /// All of it, whole slabs: what was asked for, or less where the driver allocated it.
  std::span<std::byte> bytes() const noexcept { return memory_; }
  /// How much from the beginning may be read into by now: whole slabs.
  std::uint64_t ready_bytes() const noexcept { return ready_; }
  /// Has a worker make more ready, if there is more, and none is at it. A hint: without memory for that, nothing is
  /// done.
  void grow() noexcept;

  /// From now on lanes copy only out of what `pinner` has pinned, of which the first `used_bytes` come first; new pages
  /// are taken from its NUMA node. Once: later calls do nothing. Throws std::bad_alloc, and then nothing is begun.
  void pin(std::shared_ptr<Pinner> pinner, std::uint64_t used_bytes);
  /// Whether lanes may copy out of the slab at `slab`: all of them may where nobody pins.
  bool is_ready_for_lanes(const std::byte* slab) const noexcept { return offset_of(slab) < pinned_; }
  /// The slab will never be pinned: what was read into it has to be read again.
  bool is_lost(const std::byte* slab) const noexcept { return refused_ && offset_of(slab) >= pinned_; }
  /// Not one slab of it could be pinned.
  bool was_refused() const noexcept { return refused_ && pinned_ == 0; }
  /// Gives it up for memory that the pinner allocates, as much as that grants. REQUIRES: was_refused(), and nobody
  /// reads into it. Throws what the pinner throws if it can give not one slab; then there is none.
  void allocate();
  /// Its first pages lie on another NUMA node than the pinner's, as they were in use before that was known.
  bool lies_elsewhere() const noexcept { return lies_elsewhere_; }
  /// Why less, or other, memory is pinned than was asked for; empty where nothing was refused.
  std::string refusal() const;
  /// Of pinning, so far.
  double pinning_seconds() const noexcept { return pinning_seconds_; }

 private:
  std::uint64_t offset_of(const std::byte* slab) const noexcept {
    return static_cast<std::uint64_t>(slab - memory_.data());
  }
  std::span<std::byte> chunk(std::uint64_t offset) const noexcept;
  void begin_to_pin();
  void pin_what_is_ready() noexcept;
  void pin_chunk();
  void refuse(const char* reason) noexcept;
  void unpin() noexcept;
  void allocate_pinned();

  const std::uint64_t slab_bytes_;
  const std::uint64_t chunk_bytes_;
  std::shared_ptr<Pinner> pinner_;  // nullptr: not yet, or never
  Wakeup& wakeup_;
  Mapping mapping_;              // of no bytes where the pinner allocated the memory
  std::span<std::byte> memory_;  // in the mapping, or the pinner's; empty where that gave none
  std::atomic<std::uint64_t> ready_ = 0;
  std::atomic<std::uint64_t> pinned_ = 0;  // all, where nobody pins
  std::atomic<double> pinning_seconds_ = 0;
  bool lies_elsewhere_ = false;

  mutable Mutex mutex_;
  std::string refusal_ SLUICE_GUARDED_BY(mutex_);
  std::atomic<bool> refused_ = false;
  std::atomic<bool> pinning_ = false;  // for good, once a chunk was refused
  TaskGroup tasks_;                    // last: its tasks use all of the above
};

}  // namespace sluice
