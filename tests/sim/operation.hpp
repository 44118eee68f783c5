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

struct Operation {
  const char* what = "";  // for messages; static
  Engine engine = Engine::none;
  int device = 0;
  std::vector<std::shared_ptr<Operation>> after;  // of other streams; emptied when done
  std::function<void(Operation&)> work;           // empty for marks
  // Kernels, whose bytes nobody knows before, run when they start to take time, and set this then; copies have it
  // before, and are done at its end: sources are read late.
  Nanoseconds duration = 0;

  // Of copies: what they read or write on the device, and for those to it, their source as it was when they were
  // queued.
  std::uint64_t address = 0;
  std::uint64_t bytes = 0;
  const std::byte* source = nullptr;
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
