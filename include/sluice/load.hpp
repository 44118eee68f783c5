// Load: a running request. Iterate its tensors in order of arrival, look one up, wait, cancel, watch. Destinations are
// tensors like others, by their names. It owns the arenas that it was not given: the tensors there live exactly as long
// as it does. All members but the destructor, moves and assignment may be
// called from any thread.
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
  /// Cancels what still runs, waits until nothing touches the arenas any more, frees them.
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

  /// The tensor if it has arrived, else nullptr. Does not wait for storage. The first form takes the first device that
  /// has it.
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
  void prefer(Group group) noexcept;

  /// Waits for all of them. Throws the load's Error.
  void wait() const;

  /// The arenas, those of the load itself and those that it was given; waits until they are there. For
  /// make_plan(checkpoint, plan) and start(): this Load stays the owner, and its tensors are overwritten. Throws the
  /// load's Error where it failed before it had them.
  std::vector<Memory> arenas() const;

  /// An eventfd that is readable when something has arrived since it was last read, and when the load has ended. For
  /// callers with an event loop: read its 8 bytes, then look; it may be readable without a reason. It is the load's,
  /// and lives as long: do not close it. -1 where the system refuses it.
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
