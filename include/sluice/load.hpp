// Load: a running request. Iterate its tensors in order of arrival, look one up, wait, cancel, watch. It owns the
// arenas: the tensors live exactly as long as it does. All members but the destructor and assignment may be called from
// any thread.
//
// A tensor that has arrived is complete and stays so: after the last of its bytes was read, its shard was found to be
// the one whose header was validated, by inode, size and time of modification. A load that fails ends as a whole, with
// reads and copies in flight drained: what arrived before stays valid as long as the Load, nothing arrives any more,
// and calls that wait for more than has arrived throw the Error. So whoever needs all tensors, and not only right ones,
// ends with wait().
#pragma once

#include <cstddef>
#include <iterator>
#include <memory>
#include <string_view>

#include "sluice/device.hpp"
#include "sluice/export.hpp"
#include "sluice/stats.hpp"
#include "sluice/tensor.hpp"
#include "sluice/trace.hpp"

struct CUstream_st;  // CUDA's own: CUstream and cudaStream_t are pointers to it

namespace sluice {

struct LoadState;

class SLUICE_API Load {
 public:
  explicit Load(std::shared_ptr<LoadState> state) noexcept;
  Load(Load&&) noexcept;
  Load& operator=(Load&&) noexcept;
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;
  /// Cancels what still runs, waits until nothing touches the arenas any more, frees them.
  ~Load();

  /// Walks the tensors in order of arrival, waiting for each. Every begin() starts anew at the first.
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
    Iterator(const Load* load, std::size_t index);
    const Load* load_;
    std::size_t index_;
    const Tensor* tensor_;
  };
  Iterator begin() const { return Iterator(this, 0); }
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

  /// Has the work that is queued on `stream` from now on wait for one tensor, on a CUDA device: kernels may be queued
  /// behind it with the pointer that it returns, and the host waits only until the tensor is read, not for the device.
  /// What goes wrong on the device after that is thrown by wait(). `stream` is a CUstream or cudaStream_t of the
  /// tensor's device; it may be the default stream. On a device without streams it is wait(), and so it is for a stream
  /// that is capturing a graph, which cannot depend on work outside of it. Throws as wait() does.
  const Tensor& wait_on(CUstream_st* stream, std::string_view name) const;
  const Tensor& wait_on(CUstream_st* stream, std::string_view name, DeviceId device) const;

  /// Waits for all of them. Throws the load's Error.
  void wait() const;

  /// Asks the load to end. Returns at once; reads in flight are let finish, nothing new is begun, and calls that wait
  /// throw Error{cancelled}. Nothing happens where the load has ended.
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
  std::shared_ptr<LoadState> state_;
};

}  // namespace sluice
