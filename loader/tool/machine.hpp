// Machine: what figures were measured on, for reports. Plain data.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace sluice::tool {

struct Machine {
  std::string cpu;                 // its model, as the system names it
  unsigned processors = 1;         // that this process may run on
  std::uint64_t memory_bytes = 0;  // of the machine
  std::string kernel;              // "Linux 6.12.1"
  std::string file_system;         // that the checkpoint lies on; empty where the system does not say
  std::vector<std::string> gpus;   // those that were measured
};

/// All but the GPUs.
Machine this_machine(const std::filesystem::path& checkpoint);

/// "2 x AMD EPYC, 23.4 GiB, Linux 6.12.1, ext4".
std::string describe(const Machine& machine);

/// Seconds that all processors of the machine together have worked since it was started, for whomever; 0 where the
/// system does not say. Exact to some hundredths.
double busy_seconds();

/// Processors of the machine, whether or not this process may run on them.
unsigned machine_processors() noexcept;

}  // namespace sluice::tool
