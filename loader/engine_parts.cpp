#include "loader/engine_parts.hpp"

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
    auto task = std::make_shared<std::packaged_task<std::shared_ptr<Device>()>>(
        [id, &pool = *workers] { return open_device(id, pool); });
    opening.emplace(id, task->get_future());
    workers->run([task = std::move(task)] { (*task)(); });
  }
}

std::shared_ptr<Device> EngineParts::device(DeviceId id) {
  if (auto node = opening.extract(id); !node.empty()) devices[id] = node.mapped().get();
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
