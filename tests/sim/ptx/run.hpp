// run: executes a kernel, thread by thread, each from its start to its end.
// Threads of the host: any number of launches may run at once if their memories are apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tests/sim/ptx/memory.hpp"
#include "tests/sim/ptx/module.hpp"

namespace sluice::sim::ptx {

struct Launch {
  Index grid = {1, 1, 1};
  Index block = {1, 1, 1};
  std::span<const std::byte> parameters = {};  // laid out as Kernel::parameters says; may be longer
  std::uint64_t order_seed = 0;                // the order of blocks, and of threads in each; 0: as they are numbered
  std::uint64_t step_limit = 10'000'000;       // for each thread
};

struct Counters {
  std::uint64_t threads = 0;
  std::uint64_t instructions = 0;  // steps: a guard is one of its own
  std::uint64_t loads = 0;         // of memory, not of parameters; a vector is one
  std::uint64_t stores = 0;
  std::uint64_t loaded_bytes = 0;
  std::uint64_t stored_bytes = 0;
};

/// Throws Fault. What threads stored before that stays.
Counters run(const Kernel& kernel, const Launch& launch, Memory& memory);

}  // namespace sluice::sim::ptx
