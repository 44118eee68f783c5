#include "cuda/cuda_lane.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "loader/base/thread.hpp"

namespace sluice {
namespace {

// 75 us of a PCIe 5 link: to wait for a batch costs two threads some 10 us. A slab comes back that much later at most.
constexpr std::uint64_t batch_bytes_max = 4ull << 20;

// A batch holds its slabs until its last one has been copied: it must not be all that there are.
constexpr std::uint64_t batches_of_staging = 4;

}  // namespace

CudaLane::CudaLane(const Context& context, const DeliveryKernel* kernel, std::uint64_t scratch_bytes,
                   const LaneContext& lane)
    : context_(context),
      wakeup_(lane.wakeup),
      streams_(std::in_place, context, kernel, scratch_bytes, lane),
      batch_works_max_(
          std::max<std::uint64_t>(1, lane.plan.costs.staging_bytes / lane.plan.slab_bytes / batches_of_staging)),
      bell_(lane.waker, accepting_) {
  waiter_ = start_thread("sluice-waiter", [this] { wait_in_order(); });
  try {
    queuer_ = start_thread("sluice-cuda", [this] { work_in_order(); });
  } catch (...) {
    close();
    waiter_.join();
    throw;
  }
}

CudaLane::~CudaLane() {
  close();
  queuer_.join();
}

void CudaLane::deliver(const LaneWork& work) {
  Works mine;
  MutexLock lock(mutex_);
  const auto usable = std::find_if(free_.begin(), free_.end(), [](const Work& its) { return its.orders == 0; });
  if (usable != free_.end()) {
    mine.splice(mine.end(), free_, usable);
  } else {
    lock.unlock();
    mine.emplace_back();
    lock.lock();
  }
  // From here on nothing can fail: what was accepted is counted.
  Work& its = mine.front();
  its.work = work;
  its.done = {work.tag, work.part, 0, 0};
  its.number = delivered_++;
  accepted_.splice(accepted_.end(), mine);
  const bool wakes = std::exchange(sleeping_, false);
  lock.unlock();
  if (wakes) bell_.ring();
}

void CudaLane::collect(std::vector<LaneDone>& done) {
  if (!has_news_) return;
  const MutexLock lock(mutex_);
  done.reserve(done.size() + finished_.size());
  for (const Work& work : finished_) done.push_back(work.done);
  free_.splice(free_.end(), finished_);
  if (error_ != nullptr) std::rethrow_exception(error_);
  has_news_ = false;
}

bool CudaLane::wait_until_queued(std::uint64_t count) {
  MutexLock lock(mutex_);
  const std::uint64_t wanted = std::min(count, delivered_);
  while (error_ == nullptr && !closing_ && queued_ < wanted) queueing_.wait(lock);
  return error_ == nullptr && queued_ >= wanted;
}

bool CudaLane::order(CUstream_st* stream, std::uint64_t count) {
  if (!wait_until_queued(count)) return false;  // the load is about to say why
  const CurrentContext current(context_);
  /// Work under way, whose events are not recorded anew while this lives.
  struct Orders {
    explicit Orders(CudaLane& its_lane) : lane(its_lane) {}
    ~Orders() {
      const MutexLock lock(lane.mutex_);
      for (Work* const work : works) --work->orders;
    }
    CudaLane& lane;
    std::vector<Work*> works;  // the last of each of the lane's streams, which work in order
  } ordered(*this);
  {
    const MutexLock lock(mutex_);
    if (error_ != nullptr) return false;
    ordered.works.reserve(LaneStreams::stream_count);
    for (unsigned on = 0; on < LaneStreams::stream_count; ++on) {
      const auto last = std::find_if(in_flight_.rbegin(), in_flight_.rend(),
                                     [&](const Work& work) { return work.number < count && work.stream == on; });
      if (last == in_flight_.rend()) continue;
      const auto end =
          std::find_if(std::prev(last.base()), in_flight_.end(), [](const Work& work) { return work.ends_batch; });
      ordered.works.push_back(&*end);
      ++end->orders;
    }
  }
  // A graph is launched again and again, and depends on nothing outside of it: the host waits instead.
  if (is_capturing(stream)) return false;
  for (const Work* const work : ordered.works) {
    context_.check(context_.driver().cuStreamWaitEvent(stream, work->end->handle(), 0), "cuStreamWaitEvent");
  }
  return true;
}

bool CudaLane::is_capturing(CUstream_st* stream) const {
  cu::CaptureStatus status = cu::CaptureStatus::none;
  const cu::Result result = context_.driver().cuStreamIsCapturing(stream, &status);
  // The default stream of a context in which another stream captures: nothing may be queued there now.
  if (result == cu::Result::stream_capture_implicit) return true;
  context_.check(result, "cuStreamIsCapturing");
  return status != cu::CaptureStatus::none;
}

/// The queueing thread.
void CudaLane::work_in_order() noexcept {
  try {
    const CurrentContext current(context_);
    queue_in_order();
  } catch (...) {
    fail();
  }
  waiter_.join();
  give_back();
}

void CudaLane::queue_in_order() {
  for (Works batch = next_batch(); !batch.empty(); batch = next_batch()) {
    queue(batch);
    {
      const MutexLock lock(mutex_);
      queued_ += batch.size();
      in_flight_.splice(in_flight_.end(), batch);
    }
    queueing_.notify_all();
  }
}

/// What has been accepted, as far as one event will do for it; nothing once the lane has failed or closes.
CudaLane::Works CudaLane::next_batch() {
  Works batch;
  MutexLock lock(mutex_);
  while (error_ == nullptr && !closing_ && accepted_.empty()) {
    sleeping_ = true;
    accepting_.wait(lock);
  }
  sleeping_ = false;
  if (error_ != nullptr || closing_) return batch;
  std::uint64_t bytes = 0;
  while (!accepted_.empty() && fits(batch, bytes, accepted_.front())) {
    bytes += accepted_.front().work.part->link_bytes;
    batch.splice(batch.end(), accepted_, accepted_.begin());
  }
  return batch;
}

bool CudaLane::fits(const Works& batch, std::uint64_t batch_bytes, const Work& next) const {
  if (batch.empty()) return true;
  return batch.size() < batch_works_max_ && batch_bytes + next.work.part->link_bytes <= batch_bytes_max &&
         batch.front().work.part->goes_to_scratch() == next.work.part->goes_to_scratch();
}

void CudaLane::queue(Works& batch) {
  for (Work& work : batch) streams_->queue(work.work, work.done);
  std::optional<Event>& end = batch.back().end;
  if (!end) end.emplace(context_);
  const unsigned stream = streams_->end_batch(*end);
  for (Work& work : batch) {
    work.stream = stream;
    work.ends_batch = &work == &batch.back();
  }
}

/// All that the driver gave, once nobody is in order() any more. Waits for what is in flight.
void CudaLane::give_back() noexcept {
  Works all;
  {
    MutexLock lock(mutex_);
    while (!closing_) accepting_.wait(lock);
    for (Works* const works : {&accepted_, &in_flight_, &finished_, &free_}) all.splice(all.end(), *works);
  }
  // Without the lock: streams and events are the driver's.
  streams_.reset();
  all.clear();
}

/// The waiting thread.
void CudaLane::wait_in_order() noexcept {
  try {
    const CurrentContext current(context_);
    while (wait_for_work()) {
      std::size_t ended = 0;
      context_.check(context_.driver().cuEventSynchronize(batch_after(ended)), "cuEventSynchronize");
      std::size_t more = ended;
      for (cu::Event end = batch_after(more); end != nullptr; end = batch_after(more)) {
        if (context_.driver().cuEventQuery(end) != cu::Result::success) break;
        ended = more;
      }
      // One wakeup for all that have ended since the engine last looked.
      if (finish(ended)) wakeup_.notify();
      streams_->collect_trace();
    }
  } catch (...) {
    fail();
  }
}

/// False once the lane closes and all work has ended.
bool CudaLane::wait_for_work() {
  MutexLock lock(mutex_);
  while (!closing_ && in_flight_.empty()) queueing_.wait(lock);
  return !in_flight_.empty();
}

/// The event behind the batch that comes after the first `works` under way, and adds its works to them; nullptr where
/// there is none.
cu::Event CudaLane::batch_after(std::size_t& works) {
  const MutexLock lock(mutex_);
  for (auto work = std::next(in_flight_.begin(), static_cast<std::ptrdiff_t>(works)); work != in_flight_.end();
       ++work) {
    ++works;
    if (work->ends_batch) return work->end->handle();
  }
  return nullptr;
}

/// The first `count` have ended. Allocates nothing. False where the engine knows already that there is something to
/// collect.
bool CudaLane::finish(std::size_t count) {
  const MutexLock lock(mutex_);
  const auto end = std::next(in_flight_.begin(), static_cast<std::ptrdiff_t>(count));
  finished_.splice(finished_.end(), in_flight_, in_flight_.begin(), end);
  return !has_news_.exchange(true);
}

/// In a handler: what was thrown is the lane's error, unless it has one.
void CudaLane::fail() noexcept {
  {
    const MutexLock lock(mutex_);
    if (error_ == nullptr) error_ = std::current_exception();
    has_news_ = true;
  }
  accepting_.notify_all();
  queueing_.notify_all();
  wakeup_.notify();
}

void CudaLane::close() noexcept {
  {
    const MutexLock lock(mutex_);
    closing_ = true;
  }
  accepting_.notify_all();
  queueing_.notify_all();
}

}  // namespace sluice
