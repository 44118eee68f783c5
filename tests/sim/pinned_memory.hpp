// PinnedMemory: the host memory that was registered, or allocated, for asynchronous copies, and which copies have used
// it.
// Threads: under the simulator's lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

#include "tests/sim/order.hpp"

namespace sluice::sim {

struct Pinned {
  std::uint64_t bytes = 0;
  int device = 0;                   // whose context pinned it
  bool portable = false;            // for all contexts
  bool allocated = false;           // by cuMemHostAlloc, else registered
  std::map<StreamId, Stamp> users;  // the last copy of each stream
};

class PinnedMemory {
 public:
  using Ranges = std::map<std::uintptr_t, Pinned>;

  /// The range, of one pinning, that holds all of these bytes; nullptr if there is none.
  Pinned* find(const void* memory, std::uint64_t bytes) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    const auto after = ranges.upper_bound(address);
    if (after == ranges.begin()) return nullptr;
    auto& [begin, pinned] = *std::prev(after);
    return address - begin <= pinned.bytes && bytes <= pinned.bytes - (address - begin) ? &pinned : nullptr;
  }

  bool overlaps(const void* memory, std::uint64_t bytes) const {
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    const auto after = ranges.lower_bound(address + bytes);
    return after != ranges.begin() && std::prev(after)->first + std::prev(after)->second.bytes > address;
  }

  Ranges ranges;  // by their begin; disjoint
};

}  // namespace sluice::sim
