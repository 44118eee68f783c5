// Operation: one thing queued in a stream: a copy, a kernel, or the mark that an event record or a wait leaves there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "tests/sim/control.hpp"
#include "tests/sim/order.hpp"

namespace sluice::sim {

enum class Engine { none, copy_in, copy_out, kernel };  // none: takes no time
inline constexpr std::size_t engine_count = 4;
inline constexpr int pitch_max = INT32_MAX;  // as of most devices

/// Bytes of the device or of the host, in rows that lie a pitch apart. What is no rectangle is one row.
struct Rows {
  std::uint64_t begin = 0;
  std::uint64_t bytes = 0;  // of each
  std::uint64_t pitch = 0;  // from one's begin to the next one's
  std::uint64_t count = 1;

  std::uint64_t row(std::uint64_t index) const { return begin + index * pitch; }
  std::uint64_t total() const { return count * bytes; }
  /// From the first byte to the last, with what lies between the rows.
  std::uint64_t span() const { return (count - 1) * pitch + bytes; }
};

struct Operation {
  const char* what = "";  // for messages; static
  Engine engine = Engine::none;
  int device = 0;
  std::vector<std::shared_ptr<Operation>> after;  // of other streams; emptied when done
  std::function<void(Operation&)> work;           // empty for marks
  // Kernels, whose bytes nobody knows before, run when they start to take time, and set this then; copies have it
  // before, and are done at its end: sources are read late.
  Nanoseconds duration = 0;
  Nanoseconds set_up = 0;  // before it takes its turn on its engine

  // Of copies, and of what sets memory: what they read or write on the device; and for copies to it, their source, with
  // what it held when they were queued.
  Rows on_device;
  std::optional<Rows> source;
  std::uint64_t checksum = 0;

  // Set by the timeline.
  Stamp stamp;
  VectorClock clock;  // all that is ordered before it, and itself
  std::optional<Nanoseconds> end;
  Nanoseconds done_at = 0;  // by the clock; without one, by the machine's
  int polls = 0;
  bool done = false;
};

}  // namespace sluice::sim
