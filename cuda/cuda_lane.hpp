// CudaLane: slab -> arena on one GPU, for one load. Three threads meet in it, and each piece of work goes from list to
// list:
//
//   engine's thread   deliver() -> accepted_                           finished_ -> collect() -> free_
//   queueing thread                accepted_ -> driver -> in_flight_
//   waiting thread                                        in_flight_ -> driver -> finished_
//
// What has been accepted when the queueing thread looks is queued in one batch, up to a few MiB, with one event behind
// it. So an event is recorded at once while the thread keeps up, which gives slabs back soonest; where its calls are
// the bottleneck, there are fewer of them, and fewer waits.
//
// The engine's thread calls no driver here, not even to give back what the driver gave: with eight GPUs every extent
// concerns eight lanes, whose calls take 10 to 20 us each. Nor does it wake as many threads (Waker). The queueing
// thread makes all calls but one: the waiting thread sleeps on the events of what was queued, in order, so that the
// other can queue meanwhile, and wakes the engine. The driver does not call a host function in a stream after an error
// (cuda.h, cuLaunchHostFunc).
//
// The lane's mutex is never held during a call of the driver, which may take as long as another thread pins memory.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <list>
#include <optional>
#include <thread>
#include <vector>

#include "cuda/context.hpp"
#include "cuda/delivery_kernel.hpp"
#include "cuda/lane_streams.hpp"
#include "loader/base/mutex.hpp"
#include "loader/base/waker.hpp"
#include "loader/device/device.hpp"

namespace sluice {

class CudaLane final : public Lane {
 public:
  /// As LaneStreams, whose arguments these are. Throws Error{system} as well.
  CudaLane(const Context& context, const DeliveryKernel* kernel, std::uint64_t scratch_bytes, const LaneContext& lane);
  /// Waits for what is in flight. What was delivered, but not queued yet, is dropped.
  ~CudaLane() override;

  void deliver(const LaneWork& work) override;
  bool order(CUstream_st* stream, std::uint64_t count) override;
  void collect(std::vector<LaneDone>& done) override;

  /// Waits until the first `count` works of those delivered so far are queued on the device. False where they will not
  /// all be, since the lane has failed or ends. Any thread.
  bool wait_until_queued(std::uint64_t count);

 private:
  /// What was delivered once. It moves from list to list, and so stays where it is in memory: only deliver() makes new.
  struct Work {
    std::optional<Event> end;  // once it has been the last of a batch
    LaneWork work;
    LaneDone done;
    std::uint64_t number = 0;  // in the order of deliver()
    unsigned stream = 0;       // LaneStreams' number of that which it ends on
    bool ends_batch = false;
    unsigned orders = 0;  // calls of order() that are making a stream wait for `end`: it must not be recorded anew
  };
  using Works = std::list<Work>;

  void work_in_order() noexcept;
  void queue_in_order();
  Works next_batch();
  bool fits(const Works& batch, std::uint64_t batch_bytes, const Work& next) const;
  void queue(Works& batch);
  void give_back() noexcept;
  void wait_in_order() noexcept;
  bool wait_for_work();
  cu::Event batch_after(std::size_t& works);
  bool finish(std::size_t count);
  void fail() noexcept;
  void close() noexcept;
  bool is_capturing(CUstream_st* stream) const;

  const Context& context_;
  Wakeup& wakeup_;
  std::optional<LaneStreams> streams_;  // the queueing thread's, which also destroys it
  const std::size_t batch_works_max_;

  Mutex mutex_;
  Condition accepting_;  // there is more to queue, or nothing more will be
  Waker::Bell bell_;     // of accepting_
  Condition queueing_;   // likewise, to wait for
  Works accepted_ SLUICE_GUARDED_BY(mutex_);
  Works in_flight_ SLUICE_GUARDED_BY(mutex_);  // whole batches, in the order in which they were queued
  Works finished_ SLUICE_GUARDED_BY(mutex_);   // and have not been collected
  Works free_ SLUICE_GUARDED_BY(mutex_);       // some of which may still have orders
  std::uint64_t delivered_ SLUICE_GUARDED_BY(mutex_) = 0;
  std::uint64_t queued_ SLUICE_GUARDED_BY(mutex_) = 0;
  std::atomic<bool> has_news_ = false;                  // something for collect() that it has not seen
  std::exception_ptr error_ SLUICE_GUARDED_BY(mutex_);  // the first
  bool sleeping_ SLUICE_GUARDED_BY(mutex_) = false;     // the queueing thread, and nobody has rung since
  bool closing_ SLUICE_GUARDED_BY(mutex_) = false;
  std::thread waiter_;  // last: they use all of the above
  std::thread queuer_;
};

}  // namespace sluice
