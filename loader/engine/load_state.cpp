#include "loader/engine/load_state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "loader/device/targets.hpp"
#include "loader/engine/kept_tensor.hpp"
#include "loader/plan/access.hpp"
#include "loader/plan/arena_pieces.hpp"
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

/// What is left of a timeout since `begin`.
LoadState::Timeout left_of(LoadState::Timeout timeout, std::chrono::steady_clock::time_point begin) {
  if (timeout == LoadState::for_ever) return timeout;
  return std::max(timeout, LoadState::Timeout{}) - (std::chrono::steady_clock::now() - begin);
}

}  // namespace

LoadState::LoadState(const Plan& plan, LoadMemory memory, std::shared_ptr<Wakeup> wakeup, bool trace)
    : plan_(Access::data(plan)),
      bindings_(Access::bindings(plan)),
      memory_(std::move(memory)),
      wakeup_(std::move(wakeup)),
      tracer_(trace),
      memory_left_(plan_->budget_bytes == 0 ? plan_->devices.size() : plan_->pieces.size()),
      dropped_(plan_->placements.size(), false),
      handed_(plan_->placements.size(), 0),
      arrived_(plan_->placements.size(), false),
      groups_(plan_->costs.groups.size() * plan_->devices.size()),
      placements_of_(groups_.size(), 0),
      tensors_(plan.tensors()) {
  for (const Placement& placement : plan_->placements) {
    GroupLeft& group = groups_[group_of(placement)];
    ++placements_of_[group_of(placement)];
    ++group.to_arrive;
    if (placement.deliveries != 0) ++group.to_hand;
    if (const auto its = memory_of(placement)) ++memory_left_[*its].to_drop;
  }
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
  if (plan_->budget_bytes == 0) {
    for (std::size_t i = 0; i < arenas_.size(); ++i) {
      if (memory_.arenas[i] == nullptr) memory_left_[i].memory = std::make_shared<PieceMemory>(arenas_[i]);
    }
  }
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const Placement& placement = plan_->placements[i];
    if (plan_->devices[placement.device].kind == DeviceId::Kind::null) continue;
    std::byte* const base = Targets{arenas_[placement.device]->data(), bindings_.get()}.base_of(placement);
    if (base != nullptr && placement.bytes != 0) tensors_[i].data = base + placement.arena_offset;
  }
  placed_ = true;
  changed_.notify_all();
}

void LoadState::add_piece(std::uint32_t piece, std::shared_ptr<PieceMemory> memory) {
  const MutexLock lock(mutex_);
  memory_left_[piece].memory = std::move(memory);
}

void LoadState::wait_behind(std::weak_ptr<LoadState> earlier) {
  const MutexLock lock(mutex_);
  earlier_ = std::move(earlier);
}

void LoadState::watch(std::shared_ptr<const PieceMarks> returned) {
  const MutexLock lock(mutex_);
  returned_ = std::move(returned);
}

void LoadState::tell_held_up() noexcept {
  const MutexLock lock(mutex_);
  if (arrival_event_) arrival_event_->notify();
}

void LoadState::close_lanes() noexcept {
  MutexLock lock(mutex_);
  lanes_.clear();
  while (orders_ > 0) changed_.wait(lock);
}

void LoadState::publish(std::span<const std::uint32_t> placements, std::span<const Handed> handed, const Stats& stats) {
  {
    const MutexLock lock(mutex_);
    stats_ = stats;
    if (placements.empty() && handed.empty()) return;
    for (const Handed& its : handed) {
      handed_[its.placement] = its.count;
      GroupLeft& group = groups_[group_of(plan_->placements[its.placement])];
      --group.to_hand;
      group.handed = std::max(group.handed, its.count);
    }
    for (const std::uint32_t placement : placements) {
      arrived_[placement] = true;
      --groups_[group_of(plan_->placements[placement])].to_arrive;
    }
    arrivals_.insert(arrivals_.end(), placements.begin(), placements.end());
    if (arrival_event_ && !placements.empty()) arrival_event_->notify();
  }
  changed_.notify_all();
}

void LoadState::finish(std::exception_ptr error, Stats stats) noexcept {
  {
    const MutexLock lock(mutex_);
    stats_ = std::move(stats);
    error_ = std::move(error);
    finished_ = true;
    if (arrival_event_) arrival_event_->notify();
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
    if (arrival_event_) arrival_event_->notify();
  }
  changed_.notify_all();
}

void LoadState::release() noexcept {
  // What the parent of this process still loads is the parent's.
  if (!process_.is_still()) return;
  cancel();
  // The engine may hold the state a moment longer; the memory goes with its handle, and the error does not end on the
  // engine's thread while a caller still reads it. Nor does what a driver has to give back.
  std::vector<std::shared_ptr<Arena>> arenas;
  std::vector<MemoryLeft> memory;
  std::vector<std::shared_ptr<const StreamMark>> after;
  std::exception_ptr error;
  MutexLock lock(mutex_);
  while (!finished_) changed_.wait(lock);
  arenas.swap(arenas_);
  memory.swap(memory_left_);
  after.swap(memory_.after);
  error.swap(error_);
}

void LoadState::check_process() const {
  if (process_.is_still()) return;
  throw Error(ErrorCode::system, "the load was started by the process that forked this one, which has its engine", {},
              "make an engine in the child and load there");
}

template <typename There>
bool LoadState::wait_until(MutexLock& lock, Timeout timeout, There there) {
  using Clock = std::chrono::steady_clock;
  if (there()) return true;
  const Tracer::Scope waiting(tracer_, {.what = Span::What::wait, .row = Tracer::caller});
  const Clock::time_point now = Clock::now();
  // What the clock cannot count to is for ever.
  const bool is_bounded = timeout < Clock::time_point::max() - now;
  const Clock::time_point deadline = is_bounded ? now + timeout : Clock::time_point::max();
  while (!there()) {
    if (is_bounded && Clock::now() >= deadline) return false;
    if (is_bounded) {
      changed_.wait_until(lock, deadline);
    } else {
      changed_.wait(lock);
    }
  }
  return true;
}

std::optional<std::size_t> LoadState::memory_of(const Placement& placement) const noexcept {
  if (placement.region != 0 || placement.bytes == 0) return std::nullopt;
  if (plan_->budget_bytes == 0) return placement.device;
  return piece_of(*plan_, placement);
}

void LoadState::check_present(std::uint32_t placement) const {
  if (arrived_[placement] && !dropped_[placement]) return;
  throw Error(ErrorCode::invalid_argument,
              arrived_[placement] ? "the tensor has been dropped" : "the tensor has not arrived in this load",
              {{}, {}, std::string(tensors_[placement].name)},
              arrived_[placement] ? "keep it before it is dropped" : "wait for it first");
}

const Tensor* LoadState::arrival(std::size_t index) {
  check_process();
  MutexLock lock(mutex_);
  wait_until(lock, for_ever, [&]() SLUICE_REQUIRES(mutex_) { return finished_ || arrivals_.size() > index; });
  if (index < arrivals_.size()) return &tensors_[arrivals_[index]];
  if (error_ != nullptr) std::rethrow_exception(error_);
  return nullptr;
}

const Tensor* LoadState::find(std::uint32_t placement) noexcept {
  if (!process_.is_still()) return nullptr;
  const MutexLock lock(mutex_);
  return arrived_[placement] && !dropped_[placement] ? &tensors_[placement] : nullptr;
}

bool LoadState::wait_for_arrival(std::size_t index, Timeout timeout) {
  check_process();
  MutexLock lock(mutex_);
  return wait_until(lock, timeout, [&]() SLUICE_REQUIRES(mutex_) { return finished_ || arrivals_.size() > index; });
}

const Tensor* LoadState::wait_for(std::uint32_t placement, Timeout timeout) {
  check_process();
  MutexLock lock(mutex_);
  if (!wait_until(lock, timeout, [&]() SLUICE_REQUIRES(mutex_) { return finished_ || arrived_[placement]; })) {
    return nullptr;
  }
  if (!arrived_[placement]) std::rethrow_exception(error_);
  check_present(placement);
  return &tensors_[placement];
}

bool LoadState::wait_for(Timeout timeout) {
  check_process();
  MutexLock lock(mutex_);
  if (!wait_until(lock, timeout, [&]() SLUICE_REQUIRES(mutex_) { return finished_; })) return false;
  if (error_ != nullptr) std::rethrow_exception(error_);
  return true;
}

bool LoadState::wait_for(Group group, DeviceId device, Timeout timeout) {
  check_process();
  const std::size_t index = find_group(group, device);
  MutexLock lock(mutex_);
  const auto is_over = [&]() SLUICE_REQUIRES(mutex_) { return finished_ || groups_[index].to_arrive == 0; };
  if (!wait_until(lock, timeout, is_over)) return false;
  if (groups_[index].to_arrive != 0) std::rethrow_exception(error_);
  return true;
}

std::shared_ptr<const Tensor> LoadState::keep(std::uint32_t placement, std::optional<CUstream_st*> stream) {
  check_process();
  std::shared_ptr<PieceMemory> memory;
  {
    const MutexLock lock(mutex_);
    check_present(placement);
    if (const auto its = memory_of(plan_->placements[placement])) memory = memory_left_[*its].memory;
  }
  auto kept = std::make_shared<KeptTensor>(tensors_[placement], plan_, std::move(memory), stream);
  return {kept, &kept->tensor};
}

void LoadState::drop(std::uint32_t placement, std::optional<CUstream_st*> stream) {
  check_process();
  const std::optional<std::size_t> its = memory_of(plan_->placements[placement]);
  std::shared_ptr<PieceMemory> memory;  // goes behind the lock: it may wait for the device
  {
    const MutexLock lock(mutex_);
    check_present(placement);
    dropped_[placement] = true;
    if (!its) return;
    memory = memory_left_[*its].memory;
  }
  if (memory != nullptr) use_on(*memory, tensors_[placement].device, stream);
  const MutexLock lock(mutex_);
  MemoryLeft& left = memory_left_[*its];
  // The engine has a whole arena until the load has ended, and the load lets go of it then.
  if (--left.to_drop == 0 && plan_->budget_bytes != 0) left.memory.reset();
}

const Tensor* LoadState::wait_on(CUstream_st* stream, std::uint32_t placement, Timeout timeout) {
  check_process();
  const auto begin = std::chrono::steady_clock::now();
  {
    MutexLock lock(mutex_);
    const auto is_read = [&]() SLUICE_REQUIRES(mutex_) {
      return finished_ || arrived_[placement] || handed_[placement] != 0;
    };
    if (!wait_until(lock, timeout, is_read)) return nullptr;
    if (!arrived_[placement] && order(plan_->placements[placement].device, stream, handed_[placement])) {
      return &tensors_[placement];
    }
  }
  return wait_for(placement, left_of(timeout, begin));
}

std::optional<std::size_t> LoadState::group_at(Group group, DeviceId device) const noexcept {
  const auto& groups = plan_->costs.groups;
  const auto its = std::partition_point(groups.begin(), groups.end(), [&](const auto& at) { return at.group < group; });
  const auto on = std::find(plan_->devices.begin(), plan_->devices.end(), device);
  if (its == groups.end() || its->group != group || on == plan_->devices.end()) return std::nullopt;
  return static_cast<std::size_t>(its - groups.begin()) * plan_->devices.size() +
         static_cast<std::size_t>(on - plan_->devices.begin());
}

std::size_t LoadState::find_group(Group group, DeviceId device) const {
  const auto found = group_at(group, device);
  if (found && placements_of_[*found] != 0) return *found;
  throw Error(ErrorCode::tensor_not_found, fmt::format("nothing of group {} goes to {}", group.number, name(device)),
              {plan_->catalogue->path.string(), {}, {}}, "give a rule or a destination that group");
}

bool LoadState::wait_on(CUstream_st* stream, Group group, DeviceId device, Timeout timeout) {
  check_process();
  const auto begin = std::chrono::steady_clock::now();
  const std::size_t index = find_group(group, device);
  {
    MutexLock lock(mutex_);
    const auto is_read = [&]() SLUICE_REQUIRES(mutex_) {
      return finished_ || groups_[index].to_arrive == 0 || groups_[index].to_hand == 0;
    };
    if (!wait_until(lock, timeout, is_read)) return false;
    const GroupLeft& left = groups_[index];
    if (left.to_arrive == 0) return true;
    if (left.to_hand == 0 && order(index % plan_->devices.size(), stream, left.handed)) return true;
  }
  return wait_for(group, device, left_of(timeout, begin));
}

bool LoadState::ready(Group group, DeviceId device) noexcept {
  const auto index = group_at(group, device);
  if (!index || placements_of_[*index] == 0 || !process_.is_still()) return false;
  const MutexLock lock(mutex_);
  return groups_[*index].to_arrive == 0;
}

void LoadState::prefer(Group group) noexcept {
  if (!process_.is_still()) return;
  preferred_ = std::uint64_t{group.number} + 1;
  wakeup_->notify();
}

std::optional<Group> LoadState::preferred() const noexcept {
  const std::uint64_t preferred = preferred_;
  if (preferred == 0) return std::nullopt;
  return Group{static_cast<std::uint32_t>(preferred - 1)};
}

std::vector<Memory> LoadState::arenas() {
  check_process();
  MutexLock lock(mutex_);
  wait_until(lock, for_ever, [&]() SLUICE_REQUIRES(mutex_) { return finished_ || placed_; });
  if (!placed_ && error_ != nullptr) std::rethrow_exception(error_);
  std::vector<Memory> arenas;
  for (std::size_t i = 0; i < arenas_.size(); ++i) {
    const std::uint64_t bytes = plan_->costs.devices[i].arena_bytes;
    if (bytes != 0 && arenas_[i]->data() != nullptr) arenas.push_back({plan_->devices[i], arenas_[i]->data(), bytes});
  }
  return arenas;
}

int LoadState::descriptor() noexcept {
  if (!process_.is_still()) return -1;
  const MutexLock lock(mutex_);
  try {
    if (!arrival_event_) {
      arrival_event_.emplace();
      if (finished_ || !arrivals_.empty()) arrival_event_->notify();
    }
    return arrival_event_->fd();
  } catch (const std::exception&) {
    return -1;
  }
}

bool LoadState::order(std::size_t device, CUstream_st* stream, std::uint64_t count) {
  if (lanes_.empty()) return false;
  Lane& lane = *lanes_[device];
  ++orders_;
  mutex_.unlock();
  bool ordered = false;
  std::exception_ptr error;
  try {
    ordered = lane.order(stream, count);
  } catch (...) {
    error = std::current_exception();
  }
  mutex_.lock();
  if (--orders_ == 0) changed_.notify_all();
  if (error != nullptr) std::rethrow_exception(error);
  return ordered;
}

Progress LoadState::progress() noexcept {
  if (!process_.is_still()) return {.finished = true};
  const bool waits_for_other = waits_for_held_up();
  const MutexLock lock(mutex_);
  return {stats_.bytes,     plan_->costs.read_bytes,
          arrivals_.size(), tensors_.size(),
          finished_,        is_held_up() || (waits_for_other && !begun_ && !finished_)};
}

bool LoadState::waits_for_held_up() {
  std::shared_ptr<LoadState> earlier;
  for (LoadState* its = this;; its = earlier.get()) {
    std::shared_ptr<LoadState> next;  // one behind the lock: `its` may be the last to have it
    {
      const MutexLock lock(its->mutex_);
      if (its->begun_) return its != this && its->is_held_up();
      next = its->earlier_.lock();
    }
    if (next == nullptr) return false;
    earlier = std::move(next);
  }
}

Stats LoadState::statistics() {
  check_process();
  const MutexLock lock(mutex_);
  return stats_;
}

void LoadState::read_back(std::uint32_t placement, std::uint64_t offset, std::byte* target, std::uint64_t bytes) {
  std::shared_ptr<const Arena> arena;
  std::shared_ptr<const PieceMemory> memory;  // not to go meanwhile
  {
    const MutexLock lock(mutex_);
    check_present(placement);
    if (const auto its = memory_of(plan_->placements[placement])) memory = memory_left_[*its].memory;
    arena = arenas_[plan_->placements[placement].device];
  }
  const Tensor& tensor = tensors_[placement];
  const auto* const data = static_cast<const std::byte*>(tensor.data);
  if (tensor.strides.empty()) return arena->read_back(data + offset, target, bytes);
  const Layout layout{tensor.shape, tensor.strides};
  const Places places(layout);
  const std::uint64_t bits_each = bits(tensor.dtype);
  const std::uint64_t even_bytes = places.even() * bits_each / 8;
  while (bytes > 0) {
    const std::uint64_t skipped = offset % even_bytes;
    const std::uint64_t part = std::min(even_bytes - skipped, bytes);
    const std::uint64_t element = places.of(offset / even_bytes * places.even());
    arena->read_back(data + element * bits_each / 8 + skipped, target, part);
    offset += part;
    target += part;
    bytes -= part;
  }
}

std::optional<std::uint32_t> LoadState::placement_of(std::string_view name, const DeviceId* device) const noexcept {
  const auto fits = [&](const Placement& at) { return device == nullptr || plan_->devices[at.device] == *device; };
  const auto& by_name = plan_->destinations_by_name;
  auto number = std::partition_point(by_name.begin(), by_name.end(),
                                     [&](std::uint32_t its) { return plan_->descriptions[its].name < name; });
  for (; number != by_name.end() && plan_->descriptions[*number].name == name; ++number) {
    if (fits(plan_->placements[*number])) return *number;
  }
  const auto tensor = plan_->catalogue->find(name);
  if (!tensor) return std::nullopt;
  const auto& placements = plan_->placements;
  auto at = std::partition_point(placements.begin() + plan_->destination_count, placements.end(),
                                 [&](const Placement& placement) { return placement.tensor < *tensor; });
  for (; at != placements.end() && at->tensor == *tensor; ++at) {
    if (fits(*at)) return static_cast<std::uint32_t>(at - placements.begin());
  }
  return std::nullopt;
}

}  // namespace sluice
