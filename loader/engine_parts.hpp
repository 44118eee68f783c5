// EngineParts: what an engine keeps from load to load, so that the next one finds it warm: ring, slabs, threads,
// devices. Each is made by the first load that needs it. Threads: the engine's only.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "loader/device.hpp"
#include "loader/reader.hpp"
#include "loader/staging.hpp"
#include "loader/wakeup.hpp"
#include "loader/workers.hpp"
#include "sluice/options.hpp"

namespace sluice {

struct EngineParts {
  Options options;
  std::shared_ptr<Wakeup> wakeup;
  std::vector<Fallback> fallbacks;  // of the parts, told by every load
  std::unique_ptr<Workers> workers;
  std::unique_ptr<Staging> staging;
  std::map<DeviceId, std::shared_ptr<Device>> devices;
  std::unique_ptr<Reader> reader;  // last: it goes first, before the slabs that are registered with it
};

}  // namespace sluice
