// Diagnosis: what holds a start back, found by comparing how long it took with how long each resource of the machine
// would need for its part alone. Pure: numbers in, one sentence out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::tool {

enum class Resource : std::uint8_t { storage, link, memory, processor, driver };

/// "storage", "link", "memory", "processor", "driver start-up".
std::string_view name(Resource resource) noexcept;

/// What was measured of one kind of start, medians, and what the machine could do. A rate of 0 was not measured: that
/// resource then explains nothing.
struct Evidence {
  struct Phase {
    std::string name;
    double seconds = 0;
  };
  struct OverLink {
    std::string device;
    std::uint64_t bytes = 0;
    double bytes_per_second = 0;
  };

  double seconds = 0;
  std::vector<Phase> phases;
  std::uint64_t storage_bytes = 0;  // read past the page cache, or not there yet
  double storage_bytes_per_second = 0;
  std::uint64_t cached_bytes = 0;  // copied out of the page cache
  double cache_bytes_per_second = 0;
  bool cache_into_fresh_memory = false;  // so that rate includes what fresh memory costs
  std::uint64_t fresh_bytes = 0;         // of host memory that the load makes present
  double fresh_bytes_per_second = 0;
  std::vector<OverLink> links;
  double driver_seconds = 0;
  double cpu_seconds = 0;
  bool casts = false;
  unsigned processors = 1;  // that the process may run on
  unsigned threads = 1;     // that copy and cast
  double others_share = 0;  // of the machine's processors, that others used while starts ran
};

/// With more of the processors for others, a figure says as much about them as about the load.
inline constexpr double others_share_max = 0.2;

/// How long a resource would need if nothing else held the start back.
struct Explanation {
  Resource resource{};
  double seconds = 0;
  std::string work;  // "1.0 GB at 2.5 GB/s"
};

struct Diagnosis {
  std::optional<Resource> bottleneck;  // nothing: what was measured does not explain the time
  std::string sentence;
  std::vector<Explanation> explanations;  // the longest first
  /// Of storage, link and memory the one that needs longest; what no loader could undercut.
  std::optional<Explanation> limit;
};

Diagnosis diagnose(const Evidence& evidence);

}  // namespace sluice::tool
