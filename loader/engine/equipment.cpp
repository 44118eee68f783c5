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

void Equipment::prepare(std::span<const DeviceId> ids, const std::function<bool()>& interrupted) noexcept {
  try {
    begin_to_open(ids);
    reader();
    const std::vector<std::shared_ptr<Device>> opened = wait_for_devices(ids, interrupted);
    for (const std::shared_ptr<Device>& device : opened) {
      workers().run([device] { device->warm_up(); });
    }
    // Pinning takes time. Ordinary slabs are made as they are needed: few where most is read in place.
    if (find_pinner(ids) != nullptr) staging(options_.staging_bytes / options_.slab_bytes, ids);
  } catch (const std::exception&) {
    // The load that needs it meets it again.
  }
}

/// All of them, or none where somebody cannot wait for that.
std::vector<std::shared_ptr<Device>> Equipment::wait_for_devices(std::span<const DeviceId> ids,
                                                                 const std::function<bool()>& interrupted) {
  std::vector<std::shared_ptr<Device>> opened;
  while (opened.size() < ids.size()) {
    wakeup_->clear();  // first: what is marked from here on notifies again
    if (std::shared_ptr<Device> device = find_open(ids[opened.size()])) {
      opened.push_back(std::move(device));
    } else if (interrupted()) {
      return {};
    } else {
      wakeup_->wait();
    }
  }
  return opened;
}

Workers& Equipment::workers() {
  if (workers_ == nullptr) workers_ = std::make_unique<Workers>(options_.threads);
  return *workers_;
}

FileAsker& Equipment::file_asker() {
  if (file_asker_ == nullptr) file_asker_ = std::make_unique<FileAsker>(*wakeup_, before_question_);
  return *file_asker_;
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
    if (!needs_driver(id)) {
      devices_.emplace(id, open_device_(id, workers()));
      continue;
    }
    const auto opening = opening_.emplace(id, std::make_shared<Opening>()).first;
    try {
      workers().run([this, id, &pool = workers(), begun = opening->second] { open(id, pool, *begun); });
    } catch (...) {
      opening_.erase(opening);  // or the load would wait for what nobody does
      throw;
    }
  }
}

/// On a worker.
void Equipment::open(DeviceId id, Workers& workers, Opening& opening) const noexcept {
  std::shared_ptr<Device> device;
  std::exception_ptr error;
  try {
    device = open_device_(id, workers);
  } catch (...) {
    error = std::current_exception();
  }
  {
    const MutexLock lock(opening.mutex);
    opening.device = std::move(device);
    opening.error = std::move(error);
  }
  wakeup_->notify();
}

std::shared_ptr<Device> Equipment::find_open(DeviceId id) {
  if (const auto known = devices_.find(id); known != devices_.end()) return known->second;
  const auto found = opening_.find(id);
  if (found == opening_.end()) return nullptr;
  std::exception_ptr error;
  {
    Opening& opening = *found->second;
    const MutexLock lock(opening.mutex);
    if (opening.device != nullptr) {
      // A copy: where there is no memory for it here, it stays there.
      devices_.emplace(id, opening.device);
      opening.device = nullptr;
    } else if (opening.error == nullptr) {
      return nullptr;
    }
    error = std::exchange(opening.error, nullptr);
  }
  opening_.erase(found);
  if (error != nullptr) std::rethrow_exception(std::move(error));
  return devices_.at(id);
}

std::uint64_t Equipment::used_staging_bytes() const noexcept {
  return staging_ == nullptr ? 0 : staging_->used_bytes();
}

std::shared_ptr<Pinner> Equipment::find_pinner(std::span<const DeviceId> ids) const {
  for (const DeviceId id : ids) {
    const auto known = devices_.find(id);
    std::shared_ptr<Pinner> pinner = known == devices_.end() ? nullptr : known->second->pinner();
    if (pinner != nullptr) return pinner;
  }
  return nullptr;
}

Staging* Equipment::staging(std::uint64_t slabs, std::span<const DeviceId> ids) {
  const auto count = static_cast<std::uint32_t>(std::min(slabs, options_.staging_bytes / options_.slab_bytes));
  if (count == 0) return staging_.get();
  const std::shared_ptr<Pinner> pinner = find_pinner(ids);
  if (staging_ != nullptr) {
    const SlabMemory& memory = staging_->memory();
    const bool enough = staging_->slab_count() >= count || !memory.refusal().empty();
    if (enough && !memory.was_refused() && !memory.lies_elsewhere()) {
      pin_staging(pinner);
      return staging_.get();
    }
    reader().use_slabs({}, fallbacks_);
    staging_.reset();
  }
  auto made = std::make_unique<Staging>(options_.slab_bytes,
                                        std::make_unique<SlabMemory>(options_.slab_bytes, count, workers(), *wakeup_));
  if (pinner != nullptr) made->pin(pinner);  // before the reader touches the first of them
  staging_ = std::move(made);
  name_slabs();
  return staging_.get();
}

void Equipment::name_slabs() {
  std::erase_if(fallbacks_, [](const Fallback& told) { return told.what == "registered buffers"; });
  try {
    reader().use_slabs(staging_->memory().bytes(), fallbacks_);
  } catch (...) {
    staging_.reset();  // the next load makes them anew, and does not find slabs that the reader ignores
    throw;
  }
}

void Equipment::pin_staging(const std::shared_ptr<Pinner>& pinner) {
  if (staging_ != nullptr && pinner != nullptr) staging_->pin(pinner);
}

void Equipment::allocate_staging() {
  try {
    reader().use_slabs({}, fallbacks_);
    staging_->allocate();
  } catch (...) {
    staging_.reset();
    throw;
  }
  name_slabs();
}

void Equipment::discard_reader_and_slabs() noexcept {
  reader_.reset();
  staging_.reset();
}

}  // namespace sluice
