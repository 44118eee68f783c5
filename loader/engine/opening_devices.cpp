#include "loader/engine/opening_devices.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "loader/base/memory.hpp"
#include "sluice/error.hpp"

namespace sluice {

OpeningDevices::OpeningDevices(LoadState& state, Equipment& equipment)
    : state_(state),
      equipment_(equipment),
      plan_(state.plan()),
      needs_driver_(std::any_of(plan_.devices.begin(), plan_.devices.end(), needs_driver)),
      devices_(plan_.devices.size()),
      tasks_(equipment.workers()) {}

void OpeningDevices::begin(const Stopwatch& began) {
  began_ = began;
  equipment_.begin_to_open(plan_.devices);
  if (!needs_driver_) return;  // then are_ready() checks all before anything is read
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    if (!needs_driver(plan_.devices[i])) devices_[i] = equipment_.find_open(plan_.devices[i]);
  }
  check_memory(staging_bytes_to_come());
}

bool OpeningDevices::are_ready() {
  if (ready_) return true;
  if (!checking_) {
    if (!are_open()) return false;
    checking_ = true;
    const std::uint64_t staging_bytes = staging_bytes_to_come();
    if (needs_driver_) {
      // Drivers may take their time, and this thread never waits for them.
      tasks_.run([this, staging_bytes] {
        check_all(staging_bytes);
        equipment_.wakeup().notify();
      });
    } else {
      check_all(staging_bytes);
    }
  }
  const MutexLock lock(mutex_);
  if (error_ != nullptr) std::rethrow_exception(std::exchange(error_, nullptr));
  ready_ = checked_;
  return ready_;
}

bool OpeningDevices::are_open() {
  bool all = true;
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    if (devices_[i] == nullptr) devices_[i] = equipment_.find_open(plan_.devices[i]);
    all = all && devices_[i] != nullptr;
  }
  if (!all) return false;
  seconds_ = began_.seconds();
  for (const std::shared_ptr<Device>& device : devices_) equipment_.pin_staging(device->pinner());
  return true;
}

/// Of the slabs that the load may use: those that are not there yet.
std::uint64_t OpeningDevices::staging_bytes_to_come() const noexcept {
  return plan_.costs.staging_bytes - std::min(plan_.costs.staging_bytes, equipment_.used_staging_bytes());
}

void OpeningDevices::check_all(std::uint64_t staging_bytes) noexcept {
  std::exception_ptr error;
  try {
    check_callers_memory();
    check_memory(staging_bytes);
  } catch (...) {
    error = std::current_exception();
  }
  const MutexLock lock(mutex_);
  error_ = std::move(error);
  checked_ = true;
}

// Of all devices, before any of them writes: where one refuses, nothing has been touched.
void OpeningDevices::check_callers_memory() const {
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    const std::byte* const arena = state_.memory().arenas[i];
    if (arena != nullptr) devices_[i]->check_memory(arena, plan_.costs.devices[i].arena_bytes, "the arena");
  }
  for (std::uint32_t i = 0; i < plan_.destination_count; ++i) {
    const Placement& placement = plan_.placements[i];
    if (placement.region == 0) continue;
    devices_[placement.device]->check_memory(state_.bindings().regions[placement.region - 1],
                                             plan_.regions[placement.region - 1].bytes,
                                             fmt::format("the memory of \"{}\"", plan_.name_of(placement)));
  }
}

/// Of the host, and of the devices that are open.
void OpeningDevices::check_memory(std::uint64_t staging_bytes) const {
  struct Need {
    std::uint64_t bytes = 0;
    const Device* device = nullptr;  // nullptr: the host
  };
  std::map<DeviceId, Need> needs;
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    if (devices_[i] == nullptr) continue;
    const PlanCosts::OnDevice& on = plan_.costs.devices[i];
    // What lies in one memory is held against it together.
    const bool on_host = devices_[i]->shares_host_memory();
    Need& need = needs[on_host ? host() : on.device];
    need.bytes += (state_.memory().arenas[i] != nullptr ? 0 : on.arena_peak_bytes) + on.scratch_bytes;
    if (!on_host) need.device = devices_[i].get();
  }
  needs[host()].bytes += staging_bytes;
  for (const auto& [id, need] : needs) {
    const std::uint64_t free = need.device == nullptr ? available_memory_bytes() : need.device->free_bytes();
    if (need.bytes <= free) continue;
    throw Error(
        ErrorCode::out_of_memory, fmt::format("the load needs {} bytes on {}, {} are free", need.bytes, name(id), free),
        {plan_.catalogue->path.string(), {}, {}}, "free memory, select fewer tensors or cast to a smaller dtype");
  }
}

}  // namespace sluice
