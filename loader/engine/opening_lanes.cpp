#include "loader/engine/opening_lanes.hpp"

#include <algorithm>
#include <utility>

#include "loader/base/stopwatch.hpp"
#include "loader/base/thread.hpp"

namespace sluice {

void OpeningLanes::begin(LoadState& state, std::span<const std::shared_ptr<Device>> devices) {
  {
    const MutexLock lock(mutex_);
    opened_.arenas.resize(devices.size());
    opened_.lanes.resize(devices.size());
    left_ = devices.size();
  }
  make_waker(devices);
  for (std::size_t i = 0; i < devices.size(); ++i) {
    tasks_.run([this, &state, i, device = devices[i]] { open(state, i, *device); });
  }
}

/// Where several lanes have threads of their own.
void OpeningLanes::make_waker(std::span<const std::shared_ptr<Device>> devices) {
  const auto with_threads = std::count_if(devices.begin(), devices.end(), [](const std::shared_ptr<Device>& device) {
    return device->id().kind == DeviceId::Kind::cuda;
  });
  if (with_threads < 2) return;
  try {
    waker_ = std::make_shared<Waker>();
  } catch (const Error&) {
    // No thread for it: lanes do without.
  }
}

void OpeningLanes::open(LoadState& state, std::size_t index, Device& device) noexcept {
  const Stopwatch stopwatch;
  std::shared_ptr<Arena> arena;
  std::unique_ptr<Lane> lane;
  std::exception_ptr error;
  try {
    const std::uint64_t bytes = state.plan().costs.devices[index].arena_bytes;
    std::byte* const given = state.memory().arenas[index];
    arena = given != nullptr                 ? device.adopt(given)
            : state.plan().budget_bytes != 0 ? device.reserve(bytes)
                                             : device.allocate(bytes);
    lane = device.open_lane(
        {state.plan(), state.bindings(), *arena, state.memory().after[index].get(), wakeup_, state.tracer(), waker_});
  } catch (...) {
    error = std::current_exception();
  }
  const MutexLock lock(mutex_);
  opened_.arenas[index] = std::move(arena);
  opened_.lanes[index] = std::move(lane);
  if (error != nullptr) error_ = std::move(error);  // not a copy: the worker must not be the last to release it
  seconds_ = std::max(seconds_, stopwatch.seconds());
  --left_;
  wakeup_.notify();
}

bool OpeningLanes::take(Opened& opened) {
  const MutexLock lock(mutex_);
  if (left_ > 0) return false;
  if (error_ != nullptr) std::rethrow_exception(std::exchange(error_, nullptr));
  opened = std::exchange(opened_, {});
  return true;
}

void OpeningLanes::close() noexcept {
  tasks_.wait();
  Opened left;
  {
    const MutexLock lock(mutex_);
    std::swap(left, opened_);
  }
  if (left.arenas.empty()) return;
  rather_on_own_thread("sluice-close", [&left] { left = {}; });
}

double OpeningLanes::seconds() {
  const MutexLock lock(mutex_);
  return seconds_;
}

}  // namespace sluice
