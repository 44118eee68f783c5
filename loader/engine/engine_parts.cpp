#include "loader/engine/engine_parts.hpp"

#include <algorithm>
#include <utility>

#include "sluice/error.hpp"

namespace sluice {

void EngineParts::prepare(std::span<const DeviceId> ids) noexcept {
  try {
    make_workers_once();
    begin_to_open(ids);
    make_reader_once();
    bool pinned = false;
    for (const DeviceId id : ids) {
      std::shared_ptr<Device> opened = device(id);
      pinned = pinned || opened->pinner() != nullptr;
      workers->run([opened = std::move(opened)] { opened->warm_up(); });
    }
    // Pinning takes time. Ordinary slabs are made as they are needed: few where most is read in place.
    if (pinned) make_staging_once(options.staging_bytes / options.slab_bytes, ids);
  } catch (const std::exception&) {
  }
}

void EngineParts::make_workers_once() {
  if (workers == nullptr) workers = std::make_unique<Workers>(options.threads);
}

void EngineParts::make_reader_once() {
  if (reader == nullptr) reader = make_reader(options, *wakeup, fallbacks);
}

void EngineParts::begin_to_open(std::span<const DeviceId> ids) {
  for (const DeviceId id : ids) {
    if (devices.contains(id) || opening.contains(id)) continue;
    auto begun = std::make_shared<Opening>();
    workers->run([begun, id, &pool = *workers] {
      std::shared_ptr<Device> device;
      std::exception_ptr error;
      try {
        device = open_device(id, pool);
      } catch (...) {
        error = std::current_exception();
      }
      const std::lock_guard lock(begun->mutex);
      begun->device = std::move(device);
      begun->error = std::move(error);
      begun->ended.notify_all();
    });
    opening.emplace(id, std::move(begun));
  }
}

std::shared_ptr<Device> EngineParts::device(DeviceId id) {
  if (const auto node = opening.extract(id); !node.empty()) {
    Opening& begun = *node.mapped();
    std::unique_lock lock(begun.mutex);
    begun.ended.wait(lock, [&] { return begun.device != nullptr || begun.error != nullptr; });
    if (begun.error != nullptr) std::rethrow_exception(std::exchange(begun.error, nullptr));
    devices[id] = std::move(begun.device);
  }
  return devices.at(id);
}

void EngineParts::make_staging_once(std::uint64_t slabs, std::span<const DeviceId> ids) {
  const auto count = static_cast<std::uint32_t>(std::min(slabs, options.staging_bytes / options.slab_bytes));
  if (count == 0) return;
  std::shared_ptr<Pinner> pinner;
  for (const DeviceId id : ids) {
    if (pinner == nullptr) pinner = devices.at(id)->pinner();
  }
  if (staging != nullptr) {
    const bool enough = staging->slab_count() >= count || !staging->memory().refusal().empty();
    if (enough && (pinner == nullptr || staging->memory().pinned())) return;
    reader->use_slabs({}, fallbacks);
    staging.reset();
  }
  std::erase_if(fallbacks, [](const Fallback& told) { return told.what == "registered buffers"; });
  staging = std::make_unique<Staging>(
      options.slab_bytes,
      std::make_unique<SlabMemory>(options.slab_bytes, count, std::move(pinner), *workers, *wakeup));
  reader->use_slabs(staging->memory().bytes(), fallbacks);
}

}  // namespace sluice
