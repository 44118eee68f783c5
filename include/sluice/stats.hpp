// Stats and Progress: what a load did, how long it took and what it used. Plain values, taken at one moment.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sluice/options.hpp"

namespace sluice {

struct Progress {
  std::uint64_t bytes_read = 0;  // from storage so far
  std::uint64_t bytes_total = 0;
  std::uint64_t tensors_ready = 0;
  std::uint64_t tensors_total = 0;
  bool finished = false;  // done, failed or cancelled
  /// With a budget: all that there was memory for has arrived, and nothing more does until a tensor that has arrived is
  /// dropped, or one goes that is kept. A wait for more would not end before somebody does that; look once
  /// more first: what you wait for may have been the last to arrive. Or all this is so of a load that the engine was
  /// given earlier, and this one has not begun.
  bool held_up = false;
};

/// A faster way that the system refused, or a slower one that sluice had to take.
struct Fallback {
  std::string what;    // "io_uring", "registered buffers", "registered files", "O_DIRECT", "cachestat",
                       // "pinned slabs", "mapped arena"
  std::string reason;  // what refused it, and what would allow it
};

struct Stats {
  std::uint64_t bytes = 0;            // read from storage
  std::uint64_t delivered_bytes = 0;  // to all devices together
  double seconds = 0;                 // open + plan + start-up + load, to the last tensor published
  double cpu_seconds = 0;             // user + system of the whole process over those phases
  double open_seconds = 0;
  double plan_seconds = 0;
  double start_up_seconds = 0;  // to the first read, from start() or the end of the load before: ring, first slab
  double load_seconds = 0;      // from the first read to the last tensor published

  // What of starting devices runs beside the first reads. Until it is done, slabs fill up and nothing is delivered.
  double devices_seconds = 0;  // from start(), or the end of the load before, until drivers and contexts were there
  double lanes_seconds = 0;    // arenas, streams, kernels: the slowest device
  double pinning_seconds = 0;  // pinning the engine's slabs so far

  ReaderKind reader = ReaderKind::automatic;  // which one ran
  std::uint64_t direct_bytes = 0;             // of `bytes`: read with O_DIRECT
  std::vector<Fallback> fallbacks;

  std::uint64_t extents = 0;
  std::uint64_t copies = 0;    // as in PlanCosts, but counted while loading
  std::uint64_t launches = 0;  // as in PlanCosts, but counted while loading
  std::uint64_t peak_staging_bytes = 0;
  std::uint64_t peak_arena_bytes = 0;  // of the load's own arenas, the most that were there at a time, on all devices

  // What was found while running of storage, of what was not in the page cache; 0 where nothing was read from it, or,
  // the rate, where something else always was slower.
  std::uint64_t window_bytes = 0;         // that are asked of it at a time, at the end
  double window_bytes_per_second = 0;     // that it then brought
  double read_latency_seconds = 0;        // from a read's submission to its end, on the average
  std::uint64_t peak_resident_bytes = 0;  // of the process, ever (VmHWM)

  /// bytes / seconds / 1e9.
  double gb_per_s() const noexcept { return seconds > 0 ? static_cast<double>(bytes) / seconds / 1e9 : 0; }
  /// "direct", "buffered" or "mixed": how `bytes` were read.
  const char* io() const noexcept {
    return direct_bytes == 0 ? "buffered" : direct_bytes == bytes ? "direct" : "mixed";
  }
};

}  // namespace sluice
