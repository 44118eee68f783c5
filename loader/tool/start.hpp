// Start: one start of the checkpoint, cold or warm, as a fresh process measured it and as this one saw it from outside.
// Plain data.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::tool {

struct Start {
  double seconds = 0;          // what `sluice load` tells as such: from the beginning of open to the last tensor
  double process_seconds = 0;  // from the spawning of the process until its end
  double open_seconds = 0;
  double plan_seconds = 0;
  double start_up_seconds = 0;
  double load_seconds = 0;
  double cpu_seconds = 0;          // over `seconds`
  double process_cpu_seconds = 0;  // over `process_seconds`
  std::uint64_t bytes = 0;         // read from storage
  std::uint64_t delivered_bytes = 0;
  std::uint64_t direct_bytes = 0;
  std::uint64_t peak_resident_bytes = 0;
  std::uint64_t peak_staging_bytes = 0;
  std::string reader;
  std::string io;
  std::uint64_t cached_bytes_before = 0;  // of the checkpoint, in the page cache when the process was spawned

  double gb_per_s() const noexcept { return seconds > 0 ? static_cast<double>(bytes) / seconds / 1e9 : 0; }
};

/// What the object that `sluice load --json` prints says. Throws std::runtime_error where it is none.
Start parse_start(std::string_view json);

/// What the object that the command `bench-link` prints says.
struct LinkSample {
  double driver_seconds = 0;  // until the driver and a context on each device were there
  struct OfDevice {
    std::string device;       // "cuda:0"
    std::string description;  // of the GPU and its link
    double bytes_per_second = 0;
  };
  std::vector<OfDevice> devices;
};
LinkSample parse_link_sample(std::string_view json);

}  // namespace sluice::tool
