// KernelMemory: a device's memory as one launch sees it, and what that launch did to it, to the byte.
// Threads: under the simulator's lock.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "tests/sim/device_memory.hpp"
#include "tests/sim/ptx/memory.hpp"

namespace sluice::sim {

class KernelMemory : public ptx::Memory {
 public:
  explicit KernelMemory(DeviceMemory& memory) : memory_(memory) {}

  const ptx::Region* find(std::uint64_t address) override;

  struct Range {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    bool written = false;
  };
  /// What was touched, in the order of addresses, neighbours joined; what was loaded and stored counts as written. The
  /// marks of it are gone then.
  std::vector<Range> take_accesses();

 private:
  // The parts of allocations and mappings that were asked for, by their begin. They end at multiples of a power of two,
  // which no aligned access crosses.
  std::map<std::uint64_t, ptx::Region> windows_;
  DeviceMemory& memory_;
};

}  // namespace sluice::sim
