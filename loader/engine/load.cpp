#include "sluice/load.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "loader/engine/load_state.hpp"
#include "sluice/error.hpp"

namespace sluice {

Load::Load(std::shared_ptr<LoadState> state) noexcept : state_(std::move(state)) {}

Load::Load(Load&&) noexcept = default;

Load& Load::operator=(Load&& other) noexcept {
  Load(std::move(other)).state_.swap(state_);  // what was held before ends here
  return *this;
}

Load::~Load() {
  if (state_ == nullptr) return;
  state_->cancel();
  state_->wait_until_finished();
  // The engine may hold the state a moment longer; the memory goes with its handle, and the error does not end on the
  // engine's thread while a caller still reads it.
  std::vector<std::shared_ptr<Arena>> arenas;
  std::exception_ptr error;
  const std::lock_guard lock(state_->mutex);
  arenas.swap(state_->arenas);
  error.swap(state_->error);
}

namespace {

/// The state of a load that is asked for what only a load can give.
LoadState& state_of(const std::shared_ptr<LoadState>& state) {
  if (state == nullptr) {
    throw Error(ErrorCode::invalid_argument, "the Load is empty: it was moved from, or made without a request", {},
                "use the Load that Engine::start() returned, or the one that it was moved to");
  }
  return *state;
}

const Tensor* arrival_in(LoadState& state, std::size_t index) {
  std::unique_lock lock(state.mutex);
  state.wait_until(lock, [&] { return state.finished || state.arrivals.size() > index; });
  if (index < state.arrivals.size()) return &state.tensors[state.arrivals[index]];
  if (state.error != nullptr) std::rethrow_exception(state.error);
  return nullptr;
}

const Tensor* find_arrived(LoadState& state, std::string_view name, const DeviceId* device) noexcept {
  const auto placement = state.placement_of(name, device);
  if (!placement) return nullptr;
  const std::lock_guard lock(state.mutex);
  return state.arrived[*placement] ? &state.tensors[*placement] : nullptr;
}

/// The placement of a name that somebody waits for.
std::uint32_t find_placement(const LoadState& state, std::string_view name, const DeviceId* device) {
  const auto placement = state.placement_of(name, device);
  if (!placement) {
    throw Error(ErrorCode::tensor_not_found,
                device == nullptr ? std::string("the load does not deliver this tensor")
                                  : fmt::format("the load does not deliver this tensor to {}", sluice::name(*device)),
                {state.plan->catalogue->path.string(), {}, std::string(name)},
                "add a rule to the request that takes it");
  }
  return *placement;
}

const Tensor& wait_for(LoadState& state, std::string_view name, const DeviceId* device) {
  const std::uint32_t placement = find_placement(state, name, device);
  std::unique_lock lock(state.mutex);
  state.wait_until(lock, [&] { return state.finished || state.arrived[placement]; });
  if (!state.arrived[placement]) std::rethrow_exception(state.error);
  return state.tensors[placement];
}

const Tensor& order_behind(LoadState& state, CUstream_st* stream, std::string_view name, const DeviceId* device) {
  const std::uint32_t placement = find_placement(state, name, device);
  const std::span<const Extent> extents = state.plan->extents_of(state.plan->placements[placement]);
  const auto first = state.delivered.begin() + (extents.data() - state.plan->extents.data());
  const auto delivered = [&, last = first + static_cast<std::ptrdiff_t>(extents.size())] {
    return std::find(first, last, false) == last;
  };
  std::unique_lock lock(state.mutex);
  state.wait_until(lock, [&] { return state.finished || state.arrived[placement] || delivered(); });
  if (!state.arrived[placement] && state.order(lock, state.plan->placements[placement].device, stream, extents)) {
    return state.tensors[placement];
  }
  lock.unlock();
  return wait_for(state, name, device);
}

}  // namespace

const Tensor* Load::arrival(std::size_t index) const {
  return arrival_in(state_of(state_), index);
}

Load::Iterator::Iterator(std::shared_ptr<LoadState> state)
    : state_(std::move(state)), tensor_(arrival_in(state_of(state_), 0)) {}

Load::Iterator& Load::Iterator::operator++() {
  tensor_ = arrival_in(*state_, ++index_);
  return *this;
}

const Tensor* Load::find(std::string_view name) const noexcept {
  return state_ == nullptr ? nullptr : find_arrived(*state_, name, nullptr);
}
const Tensor* Load::find(std::string_view name, DeviceId device) const noexcept {
  return state_ == nullptr ? nullptr : find_arrived(*state_, name, &device);
}

const Tensor& Load::wait(std::string_view name) const {
  return wait_for(state_of(state_), name, nullptr);
}
const Tensor& Load::wait(std::string_view name, DeviceId device) const {
  return wait_for(state_of(state_), name, &device);
}

const Tensor& Load::wait_on(CUstream_st* stream, std::string_view name) const {
  return order_behind(state_of(state_), stream, name, nullptr);
}
const Tensor& Load::wait_on(CUstream_st* stream, std::string_view name, DeviceId device) const {
  return order_behind(state_of(state_), stream, name, &device);
}

void Load::wait() const {
  LoadState& state = state_of(state_);
  std::unique_lock lock(state.mutex);
  state.wait_until(lock, [&] { return state.finished; });
  if (state.error != nullptr) std::rethrow_exception(state.error);
}

void Load::cancel() noexcept {
  if (state_ != nullptr) state_->cancel();
}

Progress Load::progress() const noexcept {
  if (state_ == nullptr) return {.finished = true};
  const PlanCosts& costs = state_->plan->costs;
  const std::lock_guard lock(state_->mutex);
  return {state_->stats.bytes, costs.read_bytes, state_->arrivals.size(), state_->tensors.size(), state_->finished};
}

Stats Load::statistics() const {
  if (state_ == nullptr) return {};
  const std::lock_guard lock(state_->mutex);
  return state_->stats;
}

Trace Load::trace() const {
  return state_ == nullptr ? Trace{} : state_->tracer.trace();
}

void Load::read_back(const Tensor& tensor, std::uint64_t offset, void* target, std::uint64_t bytes) const {
  LoadState& state = state_of(state_);
  if (offset > tensor.bytes || bytes > tensor.bytes - offset) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} bytes at {} are more than the tensor's {}", bytes, offset, tensor.bytes),
                {{}, {}, std::string(tensor.name)});
  }
  const auto placement = state.placement_of(tensor.name, &tensor.device);
  if (!placement || find_arrived(state, tensor.name, &tensor.device) == nullptr) {
    throw Error(ErrorCode::invalid_argument, "the tensor has not arrived in this load",
                {{}, {}, std::string(tensor.name)}, "wait for it first");
  }
  const Placement& where = state.plan->placements[*placement];
  if (bytes != 0) state.arenas[where.device]->read_back(where.arena_offset + offset, target, bytes);
}

}  // namespace sluice
