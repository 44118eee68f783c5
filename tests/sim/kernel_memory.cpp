#include "tests/sim/kernel_memory.hpp"

#include <algorithm>
#include <iterator>

namespace sluice::sim {
namespace {

// What is touched is looked for in whole windows: small beside an arena, large beside an access.
constexpr std::uint64_t window_bytes = 65536;

}  // namespace

const ptx::Region* KernelMemory::find(std::uint64_t address) {
  const auto after = windows_.upper_bound(address);
  if (after != windows_.begin()) {
    const ptx::Region& known = std::prev(after)->second;
    if (address - known.address < known.bytes) return &known;
  }
  if (memory_.check(address, 1, Use::read)) return nullptr;
  const Stretch around = memory_.stretch(address);
  const std::uint64_t window = address / window_bytes * window_bytes;
  const std::uint64_t begin = std::max(window, around.begin);
  const std::uint64_t end = std::min(window + window_bytes, around.end);
  const std::uint64_t place = around.place_of(begin);
  const ptx::Region region{begin, end - begin, memory_.view(place), around.writable, memory_.defined(place)};
  return &windows_.emplace(begin, region).first->second;
}

std::vector<KernelMemory::Range> KernelMemory::take_accesses() {
  std::vector<Range> ranges;
  for (const auto& [begin, region] : windows_) {
    for (std::uint64_t i = 0; i < region.bytes; ++i) {
      std::uint8_t& state = region.defined[i];
      if ((state & (ptx::stored_mark | ptx::loaded_mark)) == 0) continue;
      const bool written = (state & ptx::stored_mark) != 0;
      state = defined;
      if (ranges.empty() || ranges.back().end != begin + i || ranges.back().written != written) {
        ranges.push_back({begin + i, begin + i, written});
      }
      ++ranges.back().end;
    }
  }
  windows_.clear();
  return ranges;
}

}  // namespace sluice::sim
