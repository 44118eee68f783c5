// EngineParts: what an engine keeps from load to load, so that the next one finds it warm: ring, slabs, threads,
// devices. Each is made by the first load that needs it, or ahead of it by prepare(). Threads: the engine's only.
#pragma once

#include <condition_variable>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "loader/base/wakeup.hpp"
#include "loader/base/workers.hpp"
#include "loader/device/device.hpp"
#include "loader/engine/staging.hpp"
#include "loader/read/reader.hpp"
#include "sluice/options.hpp"

namespace sluice {

/// A device on its way. No future: that could have the worker let go of an error last, while a caller reads it.
struct Opening {
  std::mutex mutex;
  std::condition_variable ended;
  std::shared_ptr<Device> device;  // or
  std::exception_ptr error;
};

struct EngineParts {
  /// Makes what loads to `devices` will need. Devices warm up, and slabs are pinned, by the workers when this has
  /// returned. What is refused is no error yet: the load that needs it meets it again.
  void prepare(std::span<const DeviceId> devices) noexcept;

  void make_workers_once();
  void make_reader_once();
  /// Begins to open those that are not open yet, each on a worker.
  void begin_to_open(std::span<const DeviceId> devices);
  /// The device, once it is open. Throws its Error{device_unavailable}.
  std::shared_ptr<Device> device(DeviceId id);
  /// At least `slabs` of them, as far as the options allow, pinned where one of `devices`, all open, needs that.
  void make_staging_once(std::uint64_t slabs, std::span<const DeviceId> devices);

  Options options;
  std::shared_ptr<Wakeup> wakeup;
  std::vector<Fallback> fallbacks;  // of the parts, told by every load
  std::unique_ptr<Workers> workers;
  std::unique_ptr<Staging> staging;
  std::map<DeviceId, std::shared_ptr<Device>> devices;
  std::map<DeviceId, std::shared_ptr<Opening>> opening;
  std::unique_ptr<Reader> reader;  // last: it goes first, before the slabs that are registered with it
};

}  // namespace sluice
