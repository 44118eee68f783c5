#include "tests/sim/kernel_memory.hpp"

#include <algorithm>
#include <utility>

namespace sluice::sim {
namespace {

constexpr std::uint64_t granule_bytes = 512;

}  // namespace

const ptx::Region* KernelMemory::find(std::uint64_t address) {
  const std::uint64_t granule = address / granule_bytes * granule_bytes;
  if (const auto known = granules_.find(granule); known != granules_.end()) {
    const ptx::Region& region = known->second;
    return address - region.address < region.bytes ? &region : nullptr;
  }
  if (memory_.check(address, 1)) return nullptr;
  // Blocks of allocations are whole pages, so that a granule is of one allocation.
  const Allocation& allocation = *memory_.find(address);
  const std::uint64_t begin = std::max(granule, allocation.begin);
  const std::uint64_t end = std::min(granule + granule_bytes, allocation.end());
  return &granules_.emplace(granule, ptx::Region{begin, end - begin, memory_.view(begin), true, memory_.defined(begin)})
              .first->second;
}

std::vector<KernelMemory::Range> KernelMemory::take_accesses() {
  std::vector<const ptx::Region*> regions;
  for (const auto& [granule, region] : granules_) regions.push_back(&region);
  std::sort(regions.begin(), regions.end(), [](const auto* a, const auto* b) { return a->address < b->address; });

  std::vector<Range> ranges;
  for (const ptx::Region* region : regions) {
    const std::uint8_t* end = region->defined + region->bytes;
    const bool written = std::find(static_cast<const std::uint8_t*>(region->defined), end, stored) != end;
    const std::uint8_t wanted = written ? stored : defined;
    for (std::uint64_t i = 0; i < region->bytes; ++i) {
      if (region->defined[i] != wanted) continue;
      region->defined[i] = defined;
      const std::uint64_t address = region->address + i;
      if (ranges.empty() || ranges.back().end != address || ranges.back().written != written) {
        ranges.push_back({address, address, written});
      }
      ++ranges.back().end;
    }
  }
  granules_.clear();
  return ranges;
}

}  // namespace sluice::sim
