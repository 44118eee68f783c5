// Load: a running request. Iterate its tensors in order of arrival, look one up, wait, cancel, watch. Destinations are
// tensors like others, by their names. It owns the arenas that it was not given: the tensors there live as long as it
// does, those that are kept longer, and with Request::budget_bytes those that are dropped less long. All members but
// the destructor, moves and assignment may be called from any thread.
//
// A tensor that has arrived is complete and stays so: sluice read the last of its bytes, and then found by inode, size
// and time of modification that its shard is still the file whose header it validated. A load that fails ends as a
// whole, with reads and copies in flight drained: what arrived before stays valid as long as the Load, nothing arrives
// any more, and calls that wait for more than has arrived throw the Error. To be sure that *all* tensors arrived,
// finish with wait().
//
// A Load that was made without a request, or moved from, is empty. It may be destroyed, assigned to and tested like any
// other; find(), cancel(), progress(), statistics() and trace() find a finished load of nothing, and whatever waits or
// copies throws Error{invalid_argument}.
#pragma once

#include <chrono>
#include <cstddef>
#include <iterator>
#include <memory>
#include <string_view>
#include <vector>

#include "sluice/destination.hpp"
#include "sluice/device.hpp"
#include "sluice/export.hpp"
#include "sluice/stats.hpp"
#include "sluice/tensor.hpp"
#include "sluice/trace.hpp"

struct CUstream_st;  // CUDA's own: CUstream and cudaStream_t are pointers to it

namespace sluice {

struct Access;
class LoadState;

class SLUICE_API Load {
 public:
  Load() noexcept = default;
  Load(Load&&) noexcept;
  Load& operator=(Load&&) noexcept;
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;
  /// Cancels what still runs, waits until nothing touches the arenas any more, and frees what of them is not kept.
  ~Load();

  /// False for an empty Load.
  explicit operator bool() const noexcept { return state_ != nullptr; }

  /// Walks the tensors in order of arrival, waiting for each. Every begin() starts anew at the first. The Load may be
  /// moved while it is walked; it must not be destroyed.
  class SLUICE_API Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Tensor;
    using difference_type = std::ptrdiff_t;
    using pointer = const Tensor*;
    using reference = const Tensor&;

    const Tensor& operator*() const noexcept { return *tensor_; }
    const Tensor* operator->() const noexcept { return tensor_; }
    Iterator& operator++();
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& iterator, std::default_sentinel_t) noexcept {
      return iterator.tensor_ == nullptr;
    }

   private:
    friend class Load;
    explicit Iterator(std::shared_ptr<LoadState> state);
    std::shared_ptr<LoadState> state_;
    std::size_t index_ = 0;
    const Tensor* tensor_;
  };
  Iterator begin() const { return Iterator(state_); }
  std::default_sentinel_t end() const noexcept { return {}; }

  /// The `index`th tensor to arrive, or nullptr when there are no more than `index`. Waits for it. Throws the load's
  /// Error.
  const Tensor* arrival(std::size_t index) const;

  /// The tensor if it has arrived and has not been dropped, else nullptr. Does not wait for storage. The first form
  /// takes the first device that has it.
  const Tensor* find(std::string_view name) const noexcept;
  const Tensor* find(std::string_view name, DeviceId device) const noexcept;

  /// Waits for one tensor. Throws Error{tensor_not_found} if the plan does not deliver it, or the load's Error if the
  /// load ended before the tensor arrived.
  const Tensor& wait(std::string_view name) const;
  const Tensor& wait(std::string_view name, DeviceId device) const;

  /// Makes the work that is queued on `stream` from now on wait for one tensor on a CUDA device. The host waits only
  /// until the tensor is read, not for the device: queue kernels that use the returned pointer behind this call. What
  /// goes wrong on the device after that is thrown by wait(). `stream` is a CUstream or cudaStream_t of the tensor's
  /// device; it may be the default stream. On a device without streams this is wait(), and so it is for a stream that
  /// is capturing a graph, which cannot depend on work outside of the graph. Throws as wait() does.
  const Tensor& wait_on(CUstream_st* stream, std::string_view name) const;
  const Tensor& wait_on(CUstream_st* stream, std::string_view name, DeviceId device) const;

  /// As wait(name) and wait_on(stream, name), for all of a group on one device. A stream that waits for a group waits
  /// for what has been delivered to the device until the group is read, too. Throws Error{tensor_not_found} if nothing
  /// of the group goes there.
  void wait(Group group, DeviceId device) const;
  void wait_on(CUstream_st* stream, Group group, DeviceId device) const;

  /// Whether all of the group has arrived on the device. Does not wait. False where nothing of it goes there. It tells
  /// after a failure or a cancel, too, which groups are whole.
  bool ready(Group group, DeviceId device) const noexcept;

  /// Reads what is missing of the group next: for a caller who finds out late. Does not interrupt what is in flight.
  /// Does nothing where the request has a budget: memory comes in the order of reading.
  void prefer(Group group) noexcept;

  /// Waits for all of them. Throws the load's Error. With a budget this and all that waits ends only if tensors are
  /// dropped meanwhile, or before: Progress::held_up tells when that is what a load waits for.
  void wait() const;

  /// wait() in its forms, but not for longer than `timeout`: false and nullptr where the time is up, which is no error.
  /// A timeout of 0 or less only looks, nanoseconds::max() is for ever. They throw what wait() throws.
  bool wait_for(std::chrono::nanoseconds timeout) const;
  const Tensor* wait_for(std::string_view name, std::chrono::nanoseconds timeout) const;
  const Tensor* wait_for(std::string_view name, DeviceId device, std::chrono::nanoseconds timeout) const;
  bool wait_for(Group group, DeviceId device, std::chrono::nanoseconds timeout) const;
  /// Likewise wait_on(): no longer than that does the host wait.
  const Tensor* wait_on_for(CUstream_st* stream, std::string_view name, std::chrono::nanoseconds timeout) const;
  const Tensor* wait_on_for(CUstream_st* stream, std::string_view name, DeviceId device,
                            std::chrono::nanoseconds timeout) const;
  bool wait_on_for(CUstream_st* stream, Group group, DeviceId device, std::chrono::nanoseconds timeout) const;
  /// Whether arrival(index) would not wait, but return or throw at once. Waits for that, but not for longer than
  /// `timeout`.
  bool wait_for_arrival(std::size_t index, std::chrono::nanoseconds timeout) const;

  /// A tensor that has arrived, for longer than this Load: its memory, name and shape are there until the last copy of
  /// the pointer goes, on whichever thread, be load and engine gone or not. Memory is kept as a whole: all of an arena,
  /// or with a budget the tensor's piece. When it goes that waits, on a CUDA device, for what has been queued on
  /// `stream` by then, which must still be there; without a stream, for all that has been queued on the device, which
  /// spoils a graph that is being captured there: the driver refuses to wait then, and memory goes at once. So name the
  /// stream where graphs are captured meanwhile. Of the caller's own memory only name and shape are kept. Throws
  /// Error{invalid_argument} for a tensor that has not arrived, or has been dropped.
  std::shared_ptr<const Tensor> keep(const Tensor& tensor) const;
  std::shared_ptr<const Tensor> keep(const Tensor& tensor, CUstream_st* stream) const;

  /// The caller needs the tensor no more. With a budget the memory of a piece is given back, and the load goes on into
  /// the next, when the last of its tensors has been dropped and none is kept; this may then wait for a CUDA device:
  /// for what is queued on `stream` now; without a stream, for all that has been queued on the device, as above.
  /// Without a budget memory stays until the Load goes. A tensor that was dropped is not found any more, and must not
  /// be touched. Throws Error{invalid_argument} as keep() does.
  void drop(const Tensor& tensor) const;
  void drop(const Tensor& tensor, CUstream_st* stream) const;

  /// The arenas, those of the load itself and those that it was given; waits until they are there. For
  /// make_plan(checkpoint, plan) and start(): this Load stays the owner, and its tensors are overwritten. Throws the
  /// load's Error where it failed before it had them.
  std::vector<Memory> arenas() const;

  /// An eventfd that is readable when something has arrived since it was last read, when the load is held up, and when
  /// it has ended. For callers with an event loop: read its 8 bytes, then look; it may be readable without a reason. It
  /// is the load's, and lives as long: do not close it. -1 where the system refuses it.
  int descriptor() const noexcept;

  /// Asks the load to end. Returns at once; reads in flight finish, nothing new starts, and calls that wait throw
  /// Error{cancelled}. A load that has ended stays as it is.
  void cancel() noexcept;

  Progress progress() const noexcept;

  /// Complete once the load has ended; before that, what is known so far.
  Stats statistics() const;

  /// What was done when, so far; complete once the load has ended. No spans unless Options::trace is set.
  Trace trace() const;

  /// Copies `bytes` at `offset` of a tensor that has arrived into host memory at `target`. Throws
  /// Error{invalid_argument} outside the tensor and for the null device, which keeps nothing.
  void read_back(const Tensor& tensor, std::uint64_t offset, void* target, std::uint64_t bytes) const;

 private:
  friend struct Access;
  explicit Load(std::shared_ptr<LoadState> state) noexcept;
  std::shared_ptr<LoadState> state_;
};

}  // namespace sluice
