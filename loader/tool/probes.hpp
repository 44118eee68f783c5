// Probes: what doctor looks at, each by trying it where it can be tried: features are never read off a version. They
// change nothing on the machine and leave nothing behind.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace sluice::tool {

/// One thing that was looked at.
struct Check {
  enum class Status {
    ok,      // works
    slow,    // works, but something faster is refused or missing
    failed,  // needed, and refused or missing
    info,    // good to know, neither good nor bad
  };

  std::string name;
  Status status = Status::info;
  std::string finding;
  std::string advice = {};  // what to do about it; empty: nothing
};

const char* name(Check::Status status) noexcept;

/// Processors, memory, limits, huge pages, NUMA.
std::vector<Check> probe_machine();
/// io_uring, what it may register, and what might refuse it.
std::vector<Check> probe_rings();
/// The file system of `path`, a file or a folder: what it is, whether it takes O_DIRECT, whether its cache can be
/// asked. Throws Error{not_found, io} where the path cannot be looked at.
std::vector<Check> probe_storage(const std::filesystem::path& path);
/// "ext4"; empty where the system does not say.
std::string file_system_of(const std::filesystem::path& path);
/// The CUDA driver.
std::vector<Check> probe_devices();

}  // namespace sluice::tool
