#include "sluice/load.hpp"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "loader/engine/load_state.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

/// The state of a load that is asked for what only a load can give.
LoadState& state_of(const std::shared_ptr<LoadState>& state) {
  if (state == nullptr) {
    throw Error(ErrorCode::invalid_argument, "the Load is empty: it was moved from, or made without a request", {},
                "use the Load that Engine::start() returned, or the one that it was moved to");
  }
  return *state;
}

/// The placement of a name that somebody waits for.
std::uint32_t find_placement(const LoadState& state, std::string_view name, const DeviceId* device) {
  const auto placement = state.placement_of(name, device);
  if (!placement) {
    throw Error(ErrorCode::tensor_not_found,
                device == nullptr ? std::string("the load does not deliver this tensor")
                                  : fmt::format("the load does not deliver this tensor to {}", sluice::name(*device)),
                {state.plan().catalogue->path.string(), {}, std::string(name)},
                "add a rule to the request that takes it");
  }
  return *placement;
}

const Tensor* find_arrived(LoadState& state, std::string_view name, const DeviceId* device) noexcept {
  const auto placement = state.placement_of(name, device);
  return placement ? state.find(*placement) : nullptr;
}

const Tensor* wait_for_tensor(LoadState& state, std::string_view name, const DeviceId* device,
                              std::chrono::nanoseconds timeout) {
  return state.wait_for(find_placement(state, name, device), timeout);
}

const Tensor* order_behind(LoadState& state, CUstream_st* stream, std::string_view name, const DeviceId* device,
                           std::chrono::nanoseconds timeout) {
  return state.wait_on(stream, find_placement(state, name, device), timeout);
}

}  // namespace

Load::Load(std::shared_ptr<LoadState> state) noexcept : state_(std::move(state)) {}

Load::Load(Load&&) noexcept = default;

Load& Load::operator=(Load&& other) noexcept {
  Load(std::move(other)).state_.swap(state_);  // what was held before ends here
  return *this;
}

Load::~Load() {
  if (state_ != nullptr) state_->release();
}

const Tensor* Load::arrival(std::size_t index) const {
  return state_of(state_).arrival(index);
}

Load::Iterator::Iterator(std::shared_ptr<LoadState> state)
    : state_(std::move(state)), tensor_(state_of(state_).arrival(0)) {}

Load::Iterator& Load::Iterator::operator++() {
  tensor_ = state_->arrival(++index_);
  return *this;
}

const Tensor* Load::find(std::string_view name) const noexcept {
  return state_ == nullptr ? nullptr : find_arrived(*state_, name, nullptr);
}
const Tensor* Load::find(std::string_view name, DeviceId device) const noexcept {
  return state_ == nullptr ? nullptr : find_arrived(*state_, name, &device);
}

const Tensor& Load::wait(std::string_view name) const {
  return *wait_for_tensor(state_of(state_), name, nullptr, LoadState::for_ever);
}
const Tensor& Load::wait(std::string_view name, DeviceId device) const {
  return *wait_for_tensor(state_of(state_), name, &device, LoadState::for_ever);
}

const Tensor& Load::wait_on(CUstream_st* stream, std::string_view name) const {
  return *order_behind(state_of(state_), stream, name, nullptr, LoadState::for_ever);
}
const Tensor& Load::wait_on(CUstream_st* stream, std::string_view name, DeviceId device) const {
  return *order_behind(state_of(state_), stream, name, &device, LoadState::for_ever);
}
const Tensor* Load::wait_on_for(CUstream_st* stream, std::string_view name, std::chrono::nanoseconds timeout) const {
  return order_behind(state_of(state_), stream, name, nullptr, timeout);
}
const Tensor* Load::wait_on_for(CUstream_st* stream, std::string_view name, DeviceId device,
                                std::chrono::nanoseconds timeout) const {
  return order_behind(state_of(state_), stream, name, &device, timeout);
}

void Load::wait(Group group, DeviceId device) const {
  state_of(state_).wait_for(group, device, LoadState::for_ever);
}

void Load::wait_on(CUstream_st* stream, Group group, DeviceId device) const {
  state_of(state_).wait_on(stream, group, device, LoadState::for_ever);
}

bool Load::ready(Group group, DeviceId device) const noexcept {
  return state_ != nullptr && state_->ready(group, device);
}

void Load::prefer(Group group) noexcept {
  if (state_ != nullptr) state_->prefer(group);
}

std::vector<Memory> Load::arenas() const {
  return state_of(state_).arenas();
}

int Load::descriptor() const noexcept {
  return state_ == nullptr ? -1 : state_->descriptor();
}

void Load::wait() const {
  state_of(state_).wait_for(LoadState::for_ever);
}

bool Load::wait_for(std::chrono::nanoseconds timeout) const {
  return state_of(state_).wait_for(timeout);
}
const Tensor* Load::wait_for(std::string_view name, std::chrono::nanoseconds timeout) const {
  return wait_for_tensor(state_of(state_), name, nullptr, timeout);
}
const Tensor* Load::wait_for(std::string_view name, DeviceId device, std::chrono::nanoseconds timeout) const {
  return wait_for_tensor(state_of(state_), name, &device, timeout);
}
bool Load::wait_for(Group group, DeviceId device, std::chrono::nanoseconds timeout) const {
  return state_of(state_).wait_for(group, device, timeout);
}
bool Load::wait_on_for(CUstream_st* stream, Group group, DeviceId device, std::chrono::nanoseconds timeout) const {
  return state_of(state_).wait_on(stream, group, device, timeout);
}
bool Load::wait_for_arrival(std::size_t index, std::chrono::nanoseconds timeout) const {
  return state_of(state_).wait_for_arrival(index, timeout);
}

std::shared_ptr<const Tensor> Load::keep(const Tensor& tensor) const {
  LoadState& state = state_of(state_);
  return state.keep(find_placement(state, tensor.name, &tensor.device), {});
}
std::shared_ptr<const Tensor> Load::keep(const Tensor& tensor, CUstream_st* stream) const {
  LoadState& state = state_of(state_);
  return state.keep(find_placement(state, tensor.name, &tensor.device), stream);
}

void Load::drop(const Tensor& tensor) const {
  LoadState& state = state_of(state_);
  state.drop(find_placement(state, tensor.name, &tensor.device), {});
}
void Load::drop(const Tensor& tensor, CUstream_st* stream) const {
  LoadState& state = state_of(state_);
  state.drop(find_placement(state, tensor.name, &tensor.device), stream);
}

void Load::cancel() noexcept {
  if (state_ != nullptr) state_->cancel();
}

Progress Load::progress() const noexcept {
  return state_ == nullptr ? Progress{.finished = true} : state_->progress();
}

Stats Load::statistics() const {
  return state_ == nullptr ? Stats{} : state_->statistics();
}

Trace Load::trace() const {
  return state_ == nullptr ? Trace{} : state_->tracer().trace();
}

void Load::read_back(const Tensor& tensor, std::uint64_t offset, void* target, std::uint64_t bytes) const {
  LoadState& state = state_of(state_);
  if (offset > tensor.bytes || bytes > tensor.bytes - offset) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} bytes at {} are more than the tensor's {}", bytes, offset, tensor.bytes),
                {{}, {}, std::string(tensor.name)});
  }
  const auto placement = state.placement_of(tensor.name, &tensor.device);
  if (!placement || state.find(*placement) == nullptr) {
    throw Error(ErrorCode::invalid_argument, "the tensor has not arrived in this load",
                {{}, {}, std::string(tensor.name)}, "wait for it first");
  }
  if (bytes != 0) state.read_back(*placement, offset, static_cast<std::byte*>(target), bytes);
}

}  // namespace sluice
