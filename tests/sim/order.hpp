// What is ordered before what: a number for each operation of a stream, and clocks that hold, for each stream, up to
// which operation something is known to come after.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>

namespace sluice::sim {

using StreamId = std::uint64_t;

/// One operation: the stream's nth.
struct Stamp {
  StreamId stream = 0;
  std::uint64_t number = 0;
  const char* what = "";  // for messages: "copy to device"; static

  bool operator==(const Stamp& other) const { return stream == other.stream && number == other.number; }
};

class VectorClock {
 public:
  bool saw(const Stamp& stamp) const {
    const auto found = seen_.find(stamp.stream);
    return found != seen_.end() && found->second >= stamp.number;
  }
  void see(const Stamp& stamp) {
    std::uint64_t& number = seen_[stamp.stream];
    number = std::max(number, stamp.number);
  }
  void merge(const VectorClock& other) {
    for (const auto& [stream, number] : other.seen_) see({stream, number});
  }

 private:
  std::map<StreamId, std::uint64_t> seen_;
};

}  // namespace sluice::sim
