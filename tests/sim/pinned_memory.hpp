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

  /// Whether a page of these bytes is pinned: pages are what is locked.
  bool overlaps(const void* memory, std::uint64_t bytes) const {
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    const auto after = ranges.lower_bound(end_of_page(address + bytes));
    return after != ranges.begin() &&
           end_of_page(std::prev(after)->first + std::prev(after)->second.bytes) > begin_of_page(address);
  }
  static std::uintptr_t begin_of_page(std::uintptr_t address) { return address & ~(page_bytes - 1); }
  static std::uintptr_t end_of_page(std::uintptr_t address) { return begin_of_page(address + page_bytes - 1); }

  static constexpr std::uintptr_t page_bytes = 4096;  // or a multiple
  Ranges ranges;                                      // by their begin; disjoint
};

}  // namespace sluice::sim
