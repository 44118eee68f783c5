// Device, Arena, Lane: what the engine needs of a place where tensors end up. `host` and `null` implement them here,
// CUDA in cuda/. Few virtuals, none optional; all work is asynchronous and ends in Lane::collect(), which the engine
// thread calls after the Wakeup it was given has been notified.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "loader/base/tracer.hpp"
#include "loader/base/waker.hpp"
#include "loader/base/wakeup.hpp"
#include "loader/base/workers.hpp"
#include "loader/device/pinner.hpp"
#include "loader/plan/bindings.hpp"
#include "loader/plan/plan.hpp"
#include "sluice/device.hpp"
#include "sluice/error.hpp"
#include "sluice/stats.hpp"

struct CUstream_st;  // sluice/load.hpp

namespace sluice {

/// Memory on a device, in one range of addresses, that holds the tensors that sluice itself places. Keeps its device
/// alive. The destructor may run on any thread; nothing may be in flight.
class Arena {
 public:
  virtual ~Arena() = default;
  /// The address, on the device, of byte 0, a multiple of 4096 at least; nullptr on the null device and for no bytes.
  virtual std::byte* data() const noexcept = 0;
  /// Makes fresh memory of a range present before something reads into it. A hint: does nothing where there is nothing
  /// to do. Any thread; several at a time on ranges that may overlap.
  virtual void populate(std::uint64_t offset, std::uint64_t bytes) noexcept = 0;
  /// Of an arena that was reserved: brings memory to a range that has none, of zeros if `zeroed`. Both numbers are
  /// multiples of limits::piece_bytes_unit. May wait for the driver. Any thread. Throws Error{out_of_memory,
  /// device_unavailable}.
  virtual void bind(std::uint64_t /*offset*/, std::uint64_t /*bytes*/, bool /*zeroed*/) {}
  /// Likewise: gives back a range that was bound, as a whole. REQUIRES: nothing uses it any more. Any thread.
  virtual void unbind(std::uint64_t /*offset*/, std::uint64_t /*bytes*/) noexcept {}
  /// Waits for all that has been queued on the device, by whomever. Any thread.
  virtual void wait_for_device() const noexcept {}
  /// Storage reads into the arena no more. Until then a child of fork() does not get its memory: Linux before 6.5 would
  /// let a direct read in flight land in pages that only the child still has (open(2), O_DIRECT and MADV_DONTFORK).
  virtual void end_reads() noexcept {}
  /// Why it is not the memory that the device would rather give; empty if it is, and for the caller's.
  virtual std::string refusal() const { return {}; }
  /// Copies memory of the device, the arena's or other, to host memory; blocks. Any thread. Throws Error{io,
  /// device_unavailable}.
  virtual void read_back(const void* source, void* target, std::uint64_t bytes) const = 0;
};

/// One slab's content on its way to one device.
struct LaneWork {
  std::byte* slab = nullptr;  // the extent's first byte; stays as it is until the work is collected. The lane may write
                              // behind the extent, where the part's table has room: loader/plan/kernel_table.hpp
  const Extent* extent = nullptr;
  const Part* part = nullptr;  // of the extent, for this device
  std::uint64_t tag = 0;       // comes back
};

struct LaneDone {
  std::uint64_t tag = 0;
  const Part* part = nullptr;
  std::uint32_t copies = 0;  // as done, not as planned
  std::uint32_t launches = 0;
};

/// One device's in-order path for one load: slab -> arena, cast and placed, and the slab is free again.
/// Threads: the engine's only, but for order(). It waits for no device and no driver but in the destructor, which waits
/// for what is in flight, and may drop what was delivered last.
class Lane {
 public:
  virtual ~Lane() = default;
  /// Takes the work and returns: it is queued on the device soon, in order. What goes wrong then, collect() throws.
  /// Throws Error{device_unavailable} and std::bad_alloc, and then the work was not taken.
  virtual void deliver(const LaneWork& work) = 0;
  /// Has the work that a caller queues on `stream` from now on wait for the first `count` that were delivered. False,
  /// and nothing done, on a device without streams and after the lane has failed. Any thread; waits until all
  /// of them are queued, but not for the device. Throws Error{device_unavailable}.
  virtual bool order(CUstream_st* stream, std::uint64_t count) = 0;
  /// Appends what has finished since the last call. Throws the device's Error once it has failed.
  virtual void collect(std::vector<LaneDone>& done) = 0;
};

/// What was queued on a caller's stream at one moment, for a lane to wait for.
class StreamMark {
 public:
  virtual ~StreamMark() = default;
  /// Waits until it has been done. Any thread.
  virtual void wait() const noexcept = 0;
  /// Whether who has waited for it has waited for `earlier`, too, a mark on the same device.
  virtual bool is_behind(const StreamMark& earlier) const noexcept = 0;
};

/// What a lane works with; all of it outlives the lane.
struct LaneContext {
  const PlanData& plan;
  const Bindings& bindings;
  Arena& arena;
  const StreamMark* after;                 // nothing is written before that is done; nullptr: at once
  Wakeup& wakeup;                          // notified, from any thread, when what deliver() had not done is done
  Tracer& tracer;                          // told what is done when
  std::shared_ptr<Waker> waker = nullptr;  // by which deliver() wakes the lane's threads; nullptr: by itself
};

/// Threads: any, at any time.
class Device {
 public:
  virtual ~Device() = default;
  virtual DeviceId id() const noexcept = 0;
  /// Bytes that an arena could be allocated from right now.
  virtual std::uint64_t free_bytes() const = 0;
  /// Whether its memory is the host's: then free_bytes() is what both together may take.
  virtual bool shares_host_memory() const noexcept = 0;
  /// Throws Error{out_of_memory}.
  virtual std::shared_ptr<Arena> allocate(std::uint64_t bytes) = 0;
  /// An arena of addresses, to which Arena::bind() brings memory. Throws Error{out_of_memory}, and
  /// Error{device_unavailable} where the device cannot tell memory from addresses.
  virtual std::shared_ptr<Arena> reserve(std::uint64_t bytes) = 0;
  /// Makes ahead of time what open_lane() may need. Failures are ignored here; open_lane() meets and reports them.
  virtual void warm_up() noexcept = 0;
  /// Holds memory of the caller's, `bytes` at `data`, to this device. `what` is for the message: "the arena". Throws
  /// Error{invalid_argument} where it is no memory of this device, as far as that can be found out, and
  /// Error{device_unavailable}.
  virtual void check_memory(const std::byte* data, std::uint64_t bytes, std::string_view what) const = 0;
  /// An arena of the caller's memory, at a multiple of 4096. REQUIRES: check_memory() had nothing against it.
  virtual std::shared_ptr<Arena> adopt(std::byte* data) = 0;
  /// A lane that runs a plan into its arena and the caller's memory. What the plan fills with zeros is filled when this
  /// returns, but for arenas with pieces, which are bound as zeros. REQUIRES: check_memory() had nothing against what
  /// the plan writes to. Throws Error{out_of_memory, device_unavailable}.
  virtual std::unique_ptr<Lane> open_lane(const LaneContext& context) = 0;
  /// What pins the slabs that its lanes copy out of; nullptr where ordinary memory will do.
  virtual std::shared_ptr<Pinner> pinner() const = 0;
};

/// Whether a device is reached through a driver: to open it takes tenths of a second, any call may take its time, and
/// it may copy out of pinned slabs only.
bool needs_driver(DeviceId id) noexcept;

/// Opens a device by its id. `workers` do the host's copies and casts and outlive the device.
/// Throws Error{device_unavailable} with the reason and the way out.
std::shared_ptr<Device> open_device(DeviceId id, Workers& workers);

/// The one seam to cuda/, which defines it: open_device() of `cuda:ordinal`.
std::shared_ptr<Device> open_cuda_device(int ordinal);

/// Likewise: marks what is queued on `stream`, of `cuda:ordinal`, now. Any thread. Throws Error{invalid_argument} for a
/// stream of another device and Error{device_unavailable}.
std::shared_ptr<const StreamMark> mark_cuda_stream(int ordinal, CUstream_st* stream);

}  // namespace sluice
