#include "loader/tool/probes.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <memory>
#include <optional>
#include <string_view>
#include <system_error>

#include "cuda/driver.hpp"
#include "cuda/kernel_image.hpp"
#include "loader/base/memory.hpp"
#include "loader/base/stopwatch.hpp"
#include "loader/base/thread.hpp"
#include "loader/base/wakeup.hpp"
#include "loader/device/device.hpp"
#include "loader/read/uring_reader.hpp"
#include "loader/tool/text.hpp"
#include "sluice/error.hpp"
#include "sluice/options.hpp"

namespace sluice::tool {

namespace {

using Status = Check::Status;

// A load opens two descriptors a shard, few shards at a time; below this it may have to wait for them.
constexpr rlim_t descriptors_wanted = 256;

std::string first_line(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// What stands behind "key:" in /proc/self/status.
std::string process_status(std::string_view key) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != ':') continue;
    const std::size_t value = line.find_first_not_of(" \t", key.size() + 1);
    return value == std::string::npos ? "" : line.substr(value);
  }
  return "";
}

/// The word in brackets of a line such as "always [madvise] never".
std::string chosen(const std::string& line) {
  const std::size_t begin = line.find('[');
  const std::size_t end = line.find(']', begin);
  return begin == std::string::npos || end == std::string::npos ? "" : line.substr(begin + 1, end - begin - 1);
}

std::string limit_text(rlim_t limit, bool is_size) {
  if (limit == RLIM_INFINITY) return "unlimited";
  return is_size ? binary_size(limit) : fmt::format("{}", limit);
}

Check probe_system() {
  utsname system = {};
  uname(&system);
  return {"system", Status::info, fmt::format("{} {} on {}", system.sysname, system.release, system.machine)};
}

Check probe_processors() {
  Check check{"processors", Status::info, count(processor_count(), "processor") + " to use"};
  // "max 100000", or microseconds in a period: a container's share, which the number of processors does not show.
  const std::string quota = first_line("/sys/fs/cgroup/cpu.max");
  if (!quota.empty() && !quota.starts_with("max")) {
    check.finding += fmt::format(", of which its control group grants {} us", quota);
    check.advice = "give the container more processor time if casts or cached reads are slow";
  }
  return check;
}

Check probe_memory() {
  const std::uint64_t available = available_memory_bytes();
  if (available == std::numeric_limits<std::uint64_t>::max()) {
    return {"memory", Status::info, "the system does not say how much is free"};
  }
  return {"memory", Status::info,
          fmt::format("{} can still be taken, control groups considered", binary_size(available))};
}

Check probe_huge_pages() {
  const std::string enabled = chosen(first_line("/sys/kernel/mm/transparent_hugepage/enabled"));
  const std::string defrag = chosen(first_line("/sys/kernel/mm/transparent_hugepage/defrag"));
  if (enabled.empty()) {
    return {"huge pages", Status::slow, "this kernel has no transparent huge pages; fresh memory costs more time",
            "use a kernel with CONFIG_TRANSPARENT_HUGEPAGE"};
  }
  if (enabled == "never") {
    return {"huge pages", Status::slow, "transparent huge pages are off; fresh memory costs more time",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"};
  }
  return {"huge pages", Status::ok, fmt::format("transparent huge pages: {}, defragmentation: {}", enabled, defrag)};
}

Check probe_numa() {
  const std::string online = first_line("/sys/devices/system/node/online");
  if (online.empty() || online == "0") return {"numa", Status::info, "one node"};
  return {"numa", Status::info, fmt::format("nodes {}", online),
          "numactl --cpunodebind=N --membind=N, with the node of the disk, keeps memory near"};
}

Check probe_gpu(const Driver& cuda, int ordinal) {
  std::string finding = describe_device(cuda, ordinal);
  if (const std::string link = describe_link(cuda, ordinal); !link.empty()) finding += ", link " + link;
  if (const int node = numa_node_of(cuda, ordinal); node >= 0) finding += fmt::format(", near NUMA node {}", node);
  return {fmt::format("cuda:{}", ordinal), Status::ok, finding, {}};
}

/// Pins some memory, as loads do with their slabs.
Check probe_pinning(int ordinal) {
  try {
    const std::shared_ptr<Pinner> pinner = open_cuda_device(ordinal)->pinner();
    Mapping memory(huge_page_bytes * 16, "a probe");
    memory.populate(0, memory.size());
    const Stopwatch stopwatch;
    pinner->pin({memory.data(), memory.size()});
    const double seconds = stopwatch.seconds();
    pinner->unpin({memory.data(), memory.size()});
    return {"pinning",
            Status::ok,
            fmt::format("{} MiB in {:.1f} ms, {:.1f} GB/s", memory.size() >> 20, seconds * 1e3,
                        static_cast<double>(memory.size()) / seconds / 1e9),
            {}};
  } catch (const Error& error) {
    return {"pinning", Status::slow, error.message(), error.hint()};
  }
}

Check probe_descriptors() {
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  Check check{"descriptors", Status::ok,
              fmt::format("{} files may be open at a time (hard limit {})", limit_text(limit.rlim_cur, false),
                          limit_text(limit.rlim_max, false))};
  if (limit.rlim_cur < descriptors_wanted) {
    check.status = Status::slow;
    check.advice = fmt::format("ulimit -n {}", descriptors_wanted);
  }
  return check;
}

Check probe_memlock(bool buffers_registered) {
  rlimit limit = {};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  Check check{"memlock", Status::ok, fmt::format("{} may be locked", limit_text(limit.rlim_cur, true))};
  const std::uint64_t staging = Options{}.staging_bytes;
  if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= staging) return check;
  if (buffers_registered) {
    check.finding += ", which does not bind this process";
    return check;
  }
  check.status = Status::slow;
  check.advice = fmt::format("ulimit -l {} or more lets the default staging be registered", staging / 1024);
  return check;
}

Check probe_seccomp() {
  const std::string mode = process_status("Seccomp");
  if (mode == "0") return {"seccomp", Status::info, "no filter"};
  if (mode == "2")
    return {"seccomp", Status::info, "a filter is on (containers have one); what it refuses is told above"};
  return {"seccomp", Status::info, mode.empty() ? "the system does not say" : "mode " + mode};
}

/// Tries a ring as a load would make it. `registered` says whether it took the slabs.
void probe_ring(std::vector<Check>& checks, bool& registered) {
  const Options options = resolve({});
  Wakeup wakeup;
  std::vector<Fallback> fallbacks;
  std::string refusal;
  const std::unique_ptr<UringReader> reader = UringReader::make(options, wakeup, fallbacks, refusal);
  if (reader == nullptr) {
    checks.push_back({"io_uring", Status::slow, "refused: threads that call pread read instead", refusal});
    return;
  }
  checks.push_back({"io_uring", Status::ok, fmt::format("works, {} reads in flight", options.queue_depth)});
  const std::size_t refused_before = fallbacks.size();
  const Mapping slabs(options.staging_bytes, "a probe");
  reader->use_slabs({slabs.data(), slabs.size()}, fallbacks);
  registered = fallbacks.size() == refused_before;
  reader->use_slabs({}, fallbacks);
  if (registered) {
    checks.push_back(
        {"registered buffers", Status::ok, fmt::format("work, {} at a time", binary_size(options.slab_bytes))});
  }
  for (const Fallback& fallback : fallbacks)
    checks.push_back({fallback.what, Status::slow, "refused", fallback.reason});
}

}  // namespace

const char* name(Check::Status status) noexcept {
  switch (status) {
    case Status::ok:
      return "ok";
    case Status::slow:
      return "slow";
    case Status::failed:
      return "failed";
    case Status::info:
      return "info";
  }
  return "unknown";
}

std::vector<Check> probe_rings() {
  std::vector<Check> checks;
  bool registered = false;
  try {
    probe_ring(checks, registered);
  } catch (const Error& error) {
    checks.push_back({"io_uring", Status::failed, error.message(), error.hint()});
  }
  checks.push_back(probe_memlock(registered));
  checks.push_back(probe_seccomp());
  return checks;
}

std::vector<Check> probe_machine() {
  return {probe_system(), probe_processors(), probe_memory(), probe_huge_pages(), probe_numa(), probe_descriptors()};
}

std::vector<Check> probe_devices() {
  int devices = 0;
  std::vector<Check> checks;
  try {
    const Driver& cuda = driver();
    check(cuda, cuda.cuDeviceGetCount(&devices), "cuDeviceGetCount");
    checks.push_back({"cuda",
                      Status::ok,
                      fmt::format("a driver for CUDA {}, {}", version_text(cuda.version),
                                  count(static_cast<std::uint64_t>(devices), "device")),
                      {}});
    for (int ordinal = 0; ordinal < devices; ++ordinal) checks.push_back(probe_gpu(cuda, ordinal));
    if (devices > 0) checks.push_back(probe_pinning(0));
    if (kernel_fatbinary().empty()) {
      checks.push_back({"cuda kernel", Status::failed, "this sluice was built without nvcc: it can copy, but not cast",
                        "build it where nvcc 12.8 or newer is found (scripts/setup brings one)"});
    }
  } catch (const Error& error) {
    checks.push_back({"cuda", Status::info, error.message(), error.hint()});
  }
  return checks;
}

}  // namespace sluice::tool
