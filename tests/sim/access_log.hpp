// AccessLog: who last wrote each byte of a device's memory, and who has read it since. Finds accesses that nothing
// orders: a happens-before check, so that it sees a race even where this run happened to do things in a good order.
// Threads: under the simulator's lock.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "tests/sim/order.hpp"

namespace sluice::sim {

class AccessLog {
 public:
  struct Conflict {
    std::uint64_t address = 0;
    Stamp earlier;
    bool earlier_wrote = false;
  };

  /// Bytes [begin, end) are read or written by `stamp`, which comes after all that `clock` saw. Returns the first
  /// access that it should have come after and did not.
  std::optional<Conflict> read(std::uint64_t begin, std::uint64_t end, const Stamp& stamp, const VectorClock& clock);
  std::optional<Conflict> write(std::uint64_t begin, std::uint64_t end, const Stamp& stamp, const VectorClock& clock);
  /// The first access to a range that `clock` did not see.
  std::optional<Conflict> unseen(std::uint64_t begin, std::uint64_t end, const VectorClock& clock) const {
    return find_conflict(begin, end, clock, true);
  }
  /// Forgets a range, which nobody may access any more. Returns the first access that `clock` did not see.
  std::optional<Conflict> forget(std::uint64_t begin, std::uint64_t end, const VectorClock& clock);

 private:
  struct Range {
    std::uint64_t end = 0;
    std::optional<Stamp> writer;
    std::vector<Stamp> readers;  // at most one a stream
  };
  using Ranges = std::map<std::uint64_t, Range>;

  /// Makes a boundary at `address`, so that no range lies on both sides of it.
  void split(std::uint64_t address);
  std::optional<Conflict> find_conflict(std::uint64_t begin, std::uint64_t end, const VectorClock& clock,
                                        bool with_readers) const;

  Ranges ranges_;  // by their begin; disjoint
};

}  // namespace sluice::sim
