// DeviceMemory: the memory of one simulated device. It is one memfd that is mapped twice: where device pointers point,
// nothing may be read or written, so that host code which follows one dies; elsewhere the simulator reads and writes.
// Allocations lie 256 bytes apart from a page's begin at least, no better aligned than the driver promises, between
// guards, and are full of poison. A freed one's addresses are not used again while others are left. Memory that was
// created, not allocated, lies here too, but a program has no addresses of it except where it maps it: so each byte has
// a place, which is an address of this device's own, and one or several addresses, which are those that programs use.
// Threads: under the simulator's lock.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/sim/access_log.hpp"
#include "tests/sim/control.hpp"
#include "tests/sim/virtual_memory.hpp"

namespace sluice::sim {

/// What device memory knows of each byte, beside the marks that a kernel leaves (ptx/memory.hpp).
enum Defined : std::uint8_t { undefined = 0, defined = 2 };

struct Allocation {
  std::uint64_t begin = 0;
  std::uint64_t bytes = 0;
  std::uint64_t block_begin = 0;  // with guards, in whole pages
  std::uint64_t block_end = 0;
  bool freed = false;
  bool created = false;  // by cuMemCreate: a place that is no address

  std::uint64_t end() const { return begin + bytes; }
};

class DeviceMemory {
 public:
  DeviceMemory(std::uint64_t bytes, int ordinal, std::uint64_t seed, const VirtualMemory& virtual_memory);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  /// nullptr: out of memory.
  Allocation* allocate(std::uint64_t bytes);
  void free(Allocation& allocation);

  /// Whether the address is of this device at all.
  bool owns(std::uint64_t address) const { return address - base_ < span_; }
  /// The allocation, freed or not, in whose block, guards included, the address lies; nullptr if there is none.
  Allocation* find(std::uint64_t address);
  /// What is wrong with an access to these bytes, if anything.
  std::optional<Violation> check(std::uint64_t address, std::uint64_t bytes, Use use);
  /// The memory in one piece around an address. REQUIRES: check() finds nothing wrong with reading there.
  Stretch stretch(std::uint64_t address);
  /// Calls `action(stretch, begin, bytes)` for each part of these bytes that lies in one piece.
  template <typename Action>
  void for_each_part(std::uint64_t address, std::uint64_t bytes, const Action& action) {
    for (std::uint64_t at = address; at < address + bytes;) {
      const Stretch part = stretch(at);
      const std::uint64_t end = std::min(part.end, address + bytes);
      action(part, at, end - at);
      at = end;
    }
  }
  /// The guards that are not what they were.
  std::vector<Violation> check_guards(const Allocation& allocation) const;

  std::byte* view(std::uint64_t place) const { return view_ + (place - base_); }
  std::uint8_t* defined(std::uint64_t place) const { return defined_ + (place - base_); }
  const std::map<std::uint64_t, Allocation>& allocations() const { return allocations_; }
  std::uint64_t total_bytes() const { return total_; }
  std::uint64_t used_bytes() const { return used_; }
  std::uint64_t peak_bytes() const { return peak_; }

  AccessLog accesses;  // by place

 private:
  std::optional<std::uint64_t> find_room(std::uint64_t bytes);

  int ordinal_;
  const VirtualMemory& virtual_memory_;
  std::uint64_t total_;
  std::uint64_t span_;
  int file_;
  std::uint64_t base_;  // of the device pointers
  std::byte* view_;
  std::uint8_t* defined_;
  std::uint64_t cursor_;
  std::map<std::uint64_t, Allocation> allocations_;  // by block_begin; freed ones too
  std::uint64_t used_ = 0;
  std::uint64_t peak_ = 0;
  std::mt19937_64 random_;
};

}  // namespace sluice::sim
