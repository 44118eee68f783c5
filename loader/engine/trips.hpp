// Trips: the extents that are on their way through a run, by small numbers that tag their reads and their work in
// lanes. Threads: the engine's only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "loader/base/tracer.hpp"
#include "loader/read/reader.hpp"

namespace sluice {

struct Trip {
  std::uint32_t extent = 0;
  std::byte* slab = nullptr;    // from its first read on; nullptr where it is read in place
  std::byte* target = nullptr;  // what the read writes to, likewise
  ReadPath path = ReadPath::buffered;
  std::uint32_t parts_left = 0;     // with their lanes
  std::uint32_t copying_bytes = 0;  // what it has of LoadRun's
  std::int64_t submitted_ns = 0;    // by the reader's clock
  Tracer::Begun reading;
};

class Trips {
 public:
  /// The number of a new trip, which is valid until it is removed. Throws std::bad_alloc, and then there is none.
  std::uint32_t add(const Trip& trip) {
    if (free_.empty()) {
      trips_.push_back(trip);
      // So that remove() needs no memory.
      if (free_.capacity() < trips_.size()) {
        try {
          free_.reserve(trips_.capacity());
        } catch (...) {
          trips_.pop_back();
          throw;
        }
      }
      return static_cast<std::uint32_t>(trips_.size() - 1);
    }
    const std::uint32_t number = free_.back();
    free_.pop_back();
    trips_[number] = trip;
    return number;
  }
  void remove(std::uint32_t number) noexcept { free_.push_back(number); }

  bool empty() const noexcept { return free_.size() == trips_.size(); }
  Trip& operator[](std::uint64_t number) noexcept { return trips_[number]; }

 private:
  std::vector<Trip> trips_;
  std::vector<std::uint32_t> free_;
};

}  // namespace sluice
