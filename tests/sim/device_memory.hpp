// DeviceMemory: the memory of one simulated device. It is one memfd that is mapped twice: where device pointers point,
// nothing may be read or written, so that host code which follows one dies; elsewhere the simulator reads and writes.
// Allocations lie 256 bytes apart from a page's begin at least, no better aligned than the driver promises, between
// guards, and are full of poison. A freed one's addresses are not used again while others are left.
// Threads: under the simulator's lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/sim/access_log.hpp"
#include "tests/sim/control.hpp"

namespace sluice::sim {

/// What device memory knows of each byte, beside the marks that a kernel leaves (ptx/memory.hpp).
enum Defined : std::uint8_t { undefined = 0, defined = 2 };

struct Allocation {
  std::uint64_t begin = 0;
  std::uint64_t bytes = 0;
  std::uint64_t block_begin = 0;  // with guards, in whole pages
  std::uint64_t block_end = 0;
  bool freed = false;

  std::uint64_t end() const { return begin + bytes; }
};

class DeviceMemory {
 public:
  DeviceMemory(std::uint64_t bytes, std::uint64_t seed);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  /// nullopt: out of memory.
  std::optional<std::uint64_t> allocate(std::uint64_t bytes);
  void free(Allocation& allocation);

  /// Whether the address is of this device at all.
  bool owns(std::uint64_t address) const { return address - base_ < span_; }
  /// The allocation, freed or not, in whose block, guards included, the address lies; nullptr if there is none.
  Allocation* find(std::uint64_t address);
  /// What is wrong with an access to these bytes, if anything.
  std::optional<Violation> check(std::uint64_t address, std::uint64_t bytes);
  /// The guards that are not what they were.
  std::vector<Violation> check_guards(const Allocation& allocation) const;

  std::byte* view(std::uint64_t address) const { return view_ + (address - base_); }
  std::uint8_t* defined(std::uint64_t address) const { return defined_ + (address - base_); }
  const std::map<std::uint64_t, Allocation>& allocations() const { return allocations_; }
  std::uint64_t total_bytes() const { return total_; }
  std::uint64_t used_bytes() const { return used_; }
  std::uint64_t peak_bytes() const { return peak_; }

  AccessLog accesses;

 private:
  std::optional<std::uint64_t> find_room(std::uint64_t bytes);

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
