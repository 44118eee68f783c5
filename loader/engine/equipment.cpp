#include "loader/engine/equipment.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

#include "loader/base/thread.hpp"
#include "sluice/error.hpp"

namespace sluice {

Equipment::Equipment(const Options& options, std::shared_ptr<Wakeup> wakeup)
    : options_(options), wakeup_(std::move(wakeup)) {}

Equipment::~Equipment() {
  reader_.reset();
  staging_.reset();
  workers_.reset();  // whoever opens a device has ended
  rather_on_own_thread("sluice-close", [this] {
    devices_.clear();
    opening_.clear();
  });
}

void Equipment::prepare(std::span<const DeviceId> ids) noexcept {
  try {
    begin_to_open(ids);
    reader();
    bool pinned = false;
    for (const DeviceId id : ids) {
      const std::shared_ptr<Device>& opened = device(id);
      pinned = pinned || opened->pinner() != nullptr;
      workers().run([opened] { opened->warm_up(); });
    }
    // Pinning takes time. Ordinary slabs are made as they are needed: few where most is read in place.
    if (pinned) staging(options_.staging_bytes / options_.slab_bytes, ids);
  } catch (const std::exception&) {
    // The load that needs it meets it again.
  }
}

Workers& Equipment::workers() {
  if (workers_ == nullptr) workers_ = std::make_unique<Workers>(options_.threads);
  return *workers_;
}

Reader& Equipment::reader() {
  if (reader_ == nullptr) reader_ = make_reader(options_, *wakeup_, fallbacks_);
  return *reader_;
}

void Equipment::use_reader(std::unique_ptr<Reader> reader) {
  assert(reader_ == nullptr);
  reader_ = std::move(reader);
}

void Equipment::use_device(std::shared_ptr<Device> device) {
  const DeviceId id = device->id();
  assert(!devices_.contains(id) && !opening_.contains(id));
  devices_.emplace(id, std::move(device));
}

void Equipment::begin_to_open(std::span<const DeviceId> ids) {
  for (const DeviceId id : ids) {
    if (devices_.contains(id) || opening_.contains(id)) continue;
    const auto opening = opening_.emplace(id, std::make_shared<Opening>()).first;
    try {
      workers().run([id, &pool = workers(), begun = opening->second] { open(id, pool, *begun); });
    } catch (...) {
      opening_.erase(opening);  // or the load would wait for what nobody does
      throw;
    }
  }
}

void Equipment::open(DeviceId id, Workers& workers, Opening& opening) noexcept {
  std::shared_ptr<Device> device;
  std::exception_ptr error;
  try {
    device = open_device(id, workers);
  } catch (...) {
    error = std::current_exception();
  }
  const MutexLock lock(opening.mutex);
  opening.device = std::move(device);
  opening.error = std::move(error);
  opening.ended.notify_all();
}

const std::shared_ptr<Device>& Equipment::device(DeviceId id) {
  if (const auto known = devices_.find(id); known != devices_.end()) return known->second;
  begin_to_open({&id, 1});
  // Out of the map before anything can fail: a device that was refused may be tried again.
  const auto node = opening_.extract(id);
  Opening& opening = *node.mapped();
  MutexLock lock(opening.mutex);
  while (opening.device == nullptr && opening.error == nullptr) opening.ended.wait(lock);
  if (opening.error != nullptr) std::rethrow_exception(std::exchange(opening.error, nullptr));
  return devices_.emplace(id, std::move(opening.device)).first->second;
}

std::uint64_t Equipment::staging_bytes() const noexcept {
  return staging_ == nullptr ? 0 : staging_->memory().bytes().size();
}

Staging* Equipment::staging(std::uint64_t slabs, std::span<const DeviceId> ids) {
  const auto count = static_cast<std::uint32_t>(std::min(slabs, options_.staging_bytes / options_.slab_bytes));
  if (count == 0) return staging_.get();
  std::shared_ptr<Pinner> pinner;
  for (const DeviceId id : ids) {
    if (pinner == nullptr) pinner = device(id)->pinner();
  }
  if (staging_ != nullptr) {
    const bool enough = staging_->slab_count() >= count || !staging_->memory().refusal().empty();
    if (enough && (pinner == nullptr || staging_->memory().pinned())) return staging_.get();
    reader().use_slabs({}, fallbacks_);
    staging_.reset();
  }
  std::erase_if(fallbacks_, [](const Fallback& told) { return told.what == "registered buffers"; });
  auto made = std::make_unique<Staging>(
      options_.slab_bytes,
      std::make_unique<SlabMemory>(options_.slab_bytes, count, std::move(pinner), workers(), *wakeup_));
  // Where there is no memory for this, the next load makes both anew, and does not find slabs that the reader ignores.
  reader().use_slabs(made->memory().bytes(), fallbacks_);
  staging_ = std::move(made);
  return staging_.get();
}

void Equipment::discard_reader_and_slabs() noexcept {
  reader_.reset();
  staging_.reset();
}

}  // namespace sluice
