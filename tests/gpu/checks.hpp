// Is it right? Tests, casts and loads on the real driver, each a process of its own.
#pragma once

#include <cctype>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/gpu/report.hpp"

namespace sluice::gpu_check {

/// How much is done.
struct Effort {
  bool quick = false;
  bool simulated = false;   // the least: an interpreter takes seconds for what a GPU does at once
  std::uint64_t bytes = 0;  // of the largest checkpoint; 0 leaves it to the machine
};

/// Somebody else's loader: takes the shards as further arguments, loads them to the first GPU and prints bytes, seconds
/// and cpu_seconds, with phases.load where it knows, as one JSON object.
struct Other {
  std::string name;
  std::vector<std::string> command;
};

struct Setting {
  std::filesystem::path programs;  // the folder of all that is run
  std::filesystem::path data;      // where checkpoints are made
  Effort effort;
  std::vector<Other> others;  // measured beside sluice
  Report& report;

  std::string program(const std::string& name) const { return (programs / name).string(); }
  /// Where a child's output goes; `name` may hold anything.
  std::filesystem::path log(std::string name) const {
    for (char& c : name) {
      if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
    }
    return report.folder() / "logs" / name;
  }
};

/// The machine: GPUs, driver, link, processors, memory, storage. Throws std::runtime_error where there is no GPU, with
/// what to do.
void describe_machine(Setting& setting);

void check_driver_and_device(const Setting& setting);
void check_kernel(const Setting& setting);
void check_memory_accesses(const Setting& setting);

/// That what arrives on every GPU is what arrives on the host.
void check_loads(const Setting& setting, const std::filesystem::path& checkpoint, const std::string& what,
                 const std::string& dtype);

}  // namespace sluice::gpu_check
