// LoadMemory: what start() was given for a load: the caller's arenas, and what must be done before they are written to.
// Plain data.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "loader/device/device.hpp"
#include "sluice/engine.hpp"

namespace sluice {

struct LoadMemory {
  std::vector<std::byte*> arenas;                        // by device of the plan; nullptr: the load allocates
  std::vector<std::shared_ptr<const StreamMark>> after;  // likewise; nullptr: nothing to wait for
};

/// Holds `options` to the plan and marks the streams. Throws Error{invalid_argument} for what does not fit,
/// Error{device_unavailable} where a stream cannot be marked.
LoadMemory memory_for(const Plan& plan, const StartOptions& options);

}  // namespace sluice
