#include "loader/engine/load_state.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "loader/plan/access.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

std::exception_ptr cancelled() noexcept {
  try {
    throw Error(ErrorCode::cancelled, "the load was cancelled");
  } catch (...) {
    return std::current_exception();  // or std::bad_alloc, where there is no memory for the message
  }
}

}  // namespace

LoadState::LoadState(std::shared_ptr<const PlanData> plan, std::shared_ptr<Wakeup> wakeup, bool trace)
    : plan_(std::move(plan)),
      wakeup_(std::move(wakeup)),
      tracer_(trace),
      delivered_(plan_->extents.size(), false),
      arrived_(plan_->placements.size(), false),
      tensors_(Access::plan(plan_).tensors()) {
  arrivals_.reserve(tensors_.size());
  // These came before there was a load to keep them.
  const auto add = [this](Span span, double seconds) {
    span.end_ns = span.begin_ns + std::llround(seconds * 1e9);
    tracer_.add(span);
  };
  const Catalogue& catalogue = *plan_->catalogue;
  add({.what = Span::What::open,
       .row = Tracer::caller,
       .tensors = static_cast<std::uint32_t>(catalogue.tensors.size()),
       .begin_ns = catalogue.open_begin_ns},
      catalogue.open_seconds);
  add({.what = Span::What::plan,
       .row = Tracer::caller,
       .tensors = static_cast<std::uint32_t>(tensors_.size()),
       .bytes = plan_->costs.read_bytes,
       .begin_ns = plan_->begin_ns},
      plan_->seconds);
}

bool LoadState::begin() noexcept {
  const MutexLock lock(mutex_);
  begun_ = true;
  return !finished_;
}

void LoadState::place(std::vector<std::shared_ptr<Arena>> arenas, std::span<const std::unique_ptr<Lane>> lanes) {
  const MutexLock lock(mutex_);
  lanes_.reserve(lanes.size());
  for (const auto& lane : lanes) lanes_.push_back(lane.get());
  arenas_ = std::move(arenas);
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const Placement& placement = plan_->placements[i];
    std::byte* const base = arenas_[placement.device]->data();
    if (base != nullptr && placement.bytes != 0) tensors_[i].data = base + placement.arena_offset;
  }
}

void LoadState::close_lanes() noexcept {
  MutexLock lock(mutex_);
  lanes_.clear();
  while (orders_ > 0) changed_.wait(lock);
}

void LoadState::publish(std::span<const std::uint32_t> placements, std::span<const std::uint32_t> extents,
                        const Stats& stats) {
  {
    const MutexLock lock(mutex_);
    stats_ = stats;
    if (placements.empty() && extents.empty()) return;
    for (const std::uint32_t extent : extents) delivered_[extent] = true;
    for (const std::uint32_t placement : placements) arrived_[placement] = true;
    arrivals_.insert(arrivals_.end(), placements.begin(), placements.end());
  }
  changed_.notify_all();
}

void LoadState::finish(std::exception_ptr error, Stats stats) noexcept {
  {
    const MutexLock lock(mutex_);
    stats_ = std::move(stats);
    error_ = std::move(error);
    finished_ = true;
  }
  changed_.notify_all();
}

void LoadState::cancel() noexcept {
  if (!process_.is_still()) return;
  cancel_requested_ = true;
  wakeup_->notify();
  std::exception_ptr error = cancelled();
  {
    const MutexLock lock(mutex_);
    if (begun_ || finished_) return;
    error_ = std::move(error);
    finished_ = true;
  }
  changed_.notify_all();
}

void LoadState::release() noexcept {
  // What the parent of this process still loads is the parent's.
  if (!process_.is_still()) return;
  cancel();
  // The engine may hold the state a moment longer; the memory goes with its handle, and the error does not end on the
  // engine's thread while a caller still reads it.
  std::vector<std::shared_ptr<Arena>> arenas;
  std::exception_ptr error;
  MutexLock lock(mutex_);
  while (!finished_) changed_.wait(lock);
  arenas.swap(arenas_);
  error.swap(error_);
}

void LoadState::check_process() const {
  if (process_.is_still()) return;
  throw Error(ErrorCode::system, "the load was started by the process that forked this one, which has its engine", {},
              "make an engine in the child and load there");
}

template <typename There>
void LoadState::wait_until(MutexLock& lock, There there) {
  if (there()) return;
  const Tracer::Scope waiting(tracer_, {.what = Span::What::wait, .row = Tracer::caller});
  while (!there()) changed_.wait(lock);
}

const Tensor* LoadState::arrival(std::size_t index) {
  check_process();
  MutexLock lock(mutex_);
  wait_until(lock, [&]() SLUICE_REQUIRES(mutex_) { return finished_ || arrivals_.size() > index; });
  if (index < arrivals_.size()) return &tensors_[arrivals_[index]];
  if (error_ != nullptr) std::rethrow_exception(error_);
  return nullptr;
}

const Tensor* LoadState::find(std::uint32_t placement) noexcept {
  if (!process_.is_still()) return nullptr;
  const MutexLock lock(mutex_);
  return arrived_[placement] ? &tensors_[placement] : nullptr;
}

const Tensor& LoadState::wait(std::uint32_t placement) {
  check_process();
  MutexLock lock(mutex_);
  wait_until(lock, [&]() SLUICE_REQUIRES(mutex_) { return finished_ || arrived_[placement]; });
  if (!arrived_[placement]) std::rethrow_exception(error_);
  return tensors_[placement];
}

const Tensor& LoadState::wait_on(CUstream_st* stream, std::uint32_t placement) {
  check_process();
  const Placement& where = plan_->placements[placement];
  const std::span<const Extent> extents = plan_->extents_of(where);
  const auto first = static_cast<std::ptrdiff_t>(extents.data() - plan_->extents.data());
  const auto last = first + static_cast<std::ptrdiff_t>(extents.size());
  {
    MutexLock lock(mutex_);
    wait_until(lock, [&]() SLUICE_REQUIRES(mutex_) {
      return finished_ || arrived_[placement] ||
             std::find(delivered_.begin() + first, delivered_.begin() + last, false) == delivered_.begin() + last;
    });
    if (!arrived_[placement] && order(where.device, stream, extents)) return tensors_[placement];
  }
  return wait(placement);
}

bool LoadState::order(std::size_t device, CUstream_st* stream, std::span<const Extent> extents) {
  if (lanes_.empty()) return false;
  Lane& lane = *lanes_[device];
  ++orders_;
  mutex_.unlock();
  bool ordered = false;
  std::exception_ptr error;
  try {
    ordered = lane.order(stream, extents);
  } catch (...) {
    error = std::current_exception();
  }
  mutex_.lock();
  if (--orders_ == 0) changed_.notify_all();
  if (error != nullptr) std::rethrow_exception(error);
  return ordered;
}

void LoadState::wait() {
  check_process();
  MutexLock lock(mutex_);
  wait_until(lock, [&]() SLUICE_REQUIRES(mutex_) { return finished_; });
  if (error_ != nullptr) std::rethrow_exception(error_);
}

Progress LoadState::progress() noexcept {
  if (!process_.is_still()) return {.finished = true};
  const MutexLock lock(mutex_);
  return {stats_.bytes, plan_->costs.read_bytes, arrivals_.size(), tensors_.size(), finished_};
}

Stats LoadState::statistics() {
  check_process();
  const MutexLock lock(mutex_);
  return stats_;
}

std::shared_ptr<const Arena> LoadState::arena_of(std::uint32_t placement) {
  const MutexLock lock(mutex_);
  return arenas_[plan_->placements[placement].device];
}

std::optional<std::uint32_t> LoadState::placement_of(std::string_view name, const DeviceId* device) const noexcept {
  const auto tensor = plan_->catalogue->find(name);
  if (!tensor) return std::nullopt;
  const auto& placements = plan_->placements;
  auto at = std::partition_point(placements.begin(), placements.end(),
                                 [&](const Placement& placement) { return placement.tensor < *tensor; });
  for (; at != placements.end() && at->tensor == *tensor; ++at) {
    if (device == nullptr || plan_->devices[at->device] == *device) {
      return static_cast<std::uint32_t>(at - placements.begin());
    }
  }
  return std::nullopt;
}

}  // namespace sluice
