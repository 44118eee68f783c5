// KernelMemory: a device's memory as one launch sees it, and what that launch did to it. What it stored is known to the
// byte. What it loaded is known by granules only: one that it used without storing there was loaded from, as far as
// somebody had written it.
// Threads: under the simulator's lock.
#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>
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
  /// What was touched so far, in the order of addresses, neighbours joined. Stored bytes count as defined from then on.
  std::vector<Range> take_accesses();

 private:
  // A part of an allocation between multiples of granule_bytes, which no aligned access crosses.
  std::unordered_map<std::uint64_t, ptx::Region> granules_;
  DeviceMemory& memory_;
};

}  // namespace sluice::sim
