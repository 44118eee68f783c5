// VirtualMemory: the addresses that programs have reserved, the memory that they have created, and what of the one is
// mapped at the other. Reservations lie where nothing may be read or written, as device pointers do
// (device_memory.hpp), and no better aligned than was asked for. Freed ones keep their addresses as long as there are
// not too many. Threads: under the simulator's lock.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "tests/sim/control.hpp"

namespace sluice::sim {

enum class Use { read, write };

/// Memory in one piece: an allocation, or a mapping.
struct Stretch {
  std::uint64_t begin = 0;  // addresses
  std::uint64_t end = 0;
  std::uint64_t place = 0;  // of `begin`
  bool writable = true;

  std::uint64_t place_of(std::uint64_t address) const { return place + (address - begin); }
};

/// An exported descriptor: it is open as long as its number is of the same file.
struct Exported {
  int descriptor = -1;
  dev_t device = 0;
  ino_t inode = 0;

  bool is_open() const;
};

struct CreatedMemory {
  int device = 0;
  std::uint64_t place = 0;
  std::uint64_t bytes = 0;
  bool exportable = false;
  bool open_to_rdma = false;
  bool held = true;  // its handle was not released
  std::vector<Exported> descriptors;
};

struct Mapping {
  std::uint64_t bytes = 0;
  std::uint64_t memory = 0;  // the number of what was created
  cu::Access access = cu::Access::none;
};

using Mappings = std::map<std::uint64_t, Mapping>;  // by their begin; disjoint

struct Reservation {
  std::uint64_t begin = 0;
  std::uint64_t bytes = 0;
  bool freed = false;
  Mappings mappings;

  std::uint64_t end() const { return begin + bytes; }
};

class VirtualMemory {
 public:
  VirtualMemory() = default;
  ~VirtualMemory();
  VirtualMemory(const VirtualMemory&) = delete;
  VirtualMemory& operator=(const VirtualMemory&) = delete;

  /// The begin of new addresses, a multiple of `alignment` and of no higher power of two; nullopt: there are none.
  std::optional<std::uint64_t> reserve(std::uint64_t bytes, std::uint64_t alignment);
  /// REQUIRES: it is not freed, and nothing is mapped there.
  void free(Reservation& reservation);
  /// The reservation, freed or not, in which an address lies; nullptr if there is none.
  Reservation* find(std::uint64_t address);
  const Reservation* find(std::uint64_t address) const;
  bool owns(std::uint64_t address) const { return find(address) != nullptr; }

  /// The mappings that make up exactly these addresses; none where something else begins, ends or lies between.
  std::vector<Mappings::value_type*> mapped(std::uint64_t address, std::uint64_t bytes);
  bool is_mapped(const CreatedMemory& memory) const;

  /// What is wrong with a device's access to these bytes, if anything. REQUIRES: owns(address).
  std::optional<Violation> check(std::uint64_t address, std::uint64_t bytes, int device, Use use) const;
  /// The mapping around an address. REQUIRES: there is one.
  Stretch stretch(std::uint64_t address) const;
  /// Where the simulator keeps the byte that is mapped there; nullopt: nothing is.
  std::optional<std::uint64_t> place_of(std::uint64_t address) const;

  const std::map<std::uint64_t, Reservation>& reservations() const { return reservations_; }

  std::map<std::uint64_t, CreatedMemory> created;  // by number

 private:
  const Mappings::value_type* mapping_at(std::uint64_t address) const;

  std::map<std::uint64_t, Reservation> reservations_;  // by their begin; freed ones too
  std::deque<std::uint64_t> freed_;                    // the begins of those, the oldest first
  std::uint64_t freed_bytes_ = 0;
};

}  // namespace sluice::sim
