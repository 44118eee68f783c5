#include "tests/sim/ptx/run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "tests/sim/ptx/thread.hpp"

namespace sluice::sim::ptx {
namespace {

std::uint64_t volume(Index extent) {
  return std::uint64_t{extent[0]} * extent[1] * extent[2];
}

Index index_of(std::uint64_t number, Index extent) {
  return {static_cast<std::uint32_t>(number % extent[0]), static_cast<std::uint32_t>(number / extent[0] % extent[1]),
          static_cast<std::uint32_t>(number / extent[0] / extent[1])};
}

/// The numbers below `count`, each once: start, start + stride, ... modulo count. Of two numbers, about half of the
/// seeds have the one first; seed 0 leaves them in order.
class Order {
 public:
  Order(std::uint64_t count, std::uint64_t seed) : count_(count) {
    if (seed != 0 && count > 2) {
      std::mt19937_64 random(seed);
      start_ = random() % count;
      do {
        stride_ = random() % count;
      } while (std::gcd(stride_, count) != 1);
    } else if (seed != 0) {
      start_ = seed % count;
    }
  }

  template <typename Visit>
  void each(Visit visit) const {
    for (std::uint64_t i = 0, number = start_; i < count_; ++i, number = (number + stride_) % count_) {
      visit(number);
    }
  }

 private:
  std::uint64_t count_;
  std::uint64_t start_ = 0;
  std::uint64_t stride_ = 1;
};

void execute(const Kernel& kernel, const Launch& launch, Thread& thread, Counters& counters) {
  const Instruction* next = kernel.code.data();
  try {
    std::uint64_t steps = 0;
    while (next != nullptr) {
      if (++steps > launch.step_limit) {
        throw Trouble{fmt::format("no end after {} steps", launch.step_limit), {}};
      }
      next = next->execute(next, thread);
    }
    counters.instructions += steps;
  } catch (const Trouble& trouble) {
    throw Fault(trouble.reason, next->line, thread.index(slot_ctaid), thread.index(slot_tid), trouble.address);
  }
}

/// What the driver would refuse, or the kernel's directives forbid.
void check(const Kernel& kernel, const Launch& launch) {
  const auto refuse = [](const std::string& reason) { throw Fault(reason, 0, {}, {}, {}); };
  const std::uint64_t threads = volume(launch.block);
  if (threads == 0 || volume(launch.grid) == 0) {
    refuse("a launch of no threads");
  }
  if (threads > kernel.threads_max || (kernel.threads_exact && threads < kernel.threads_max)) {
    refuse(fmt::format("{} threads a block; the kernel is made for {}", threads, kernel.threads_max));
  }
  if (launch.parameters.size() < kernel.parameter_bytes) {
    refuse(
        fmt::format("{} bytes of parameters; the kernel takes {}", launch.parameters.size(), kernel.parameter_bytes));
  }
}

}  // namespace

Counters run(const Kernel& kernel, const Launch& launch, Memory& memory) {
  check(kernel, launch);
  Counters counters;
  Thread thread(kernel, launch.parameters.first(kernel.parameter_bytes), memory, counters);
  Order(volume(launch.grid), launch.order_seed).each([&](std::uint64_t block) {
    // Blocks differ in the order of their threads, too.
    const std::uint64_t seed = launch.order_seed == 0 ? 0 : launch.order_seed + block;
    Order(volume(launch.block), seed).each([&](std::uint64_t number) {
      thread.begin(index_of(block, launch.grid), index_of(number, launch.block), launch);
      execute(kernel, launch, thread, counters);
      ++counters.threads;
    });
  });
  return counters;
}

Thread::Thread(const Kernel& kernel, std::span<const std::byte> parameters, Memory& memory, Counters& counters)
    : kernel_(kernel),
      parameters_(parameters),
      memory_(memory),
      counters_(counters),
      slots_(kernel.slots),
      written_(kernel.slots.size() / chunk + 1) {
  if (kernel.constants != nullptr) {
    // Never written through: the region is read-only.
    constants_ = {constants_address, kernel.constants->size(), const_cast<std::byte*>(kernel.constants->data()), false,
                  nullptr};
  }
}

void Thread::begin(Index block, Index thread, const Launch& launch) {
  for (std::size_t i = 0; i < written_.size(); ++i) {
    if (written_[i] != 0) {
      const std::size_t first = i * chunk;
      std::copy_n(&kernel_.slots[first], std::min(chunk, slots_.size() - first), &slots_[first]);
      written_[i] = 0;
    }
  }
  const auto set = [&](std::uint16_t first, Index values) { std::copy(values.begin(), values.end(), &slots_[first]); };
  set(slot_tid, thread);
  set(slot_ntid, launch.block);
  set(slot_ctaid, block);
  set(slot_nctaid, launch.grid);
}

Index Thread::index(std::uint16_t first_slot) const {
  return {read<std::uint32_t>(first_slot), read<std::uint32_t>(first_slot + 1), read<std::uint32_t>(first_slot + 2)};
}

const Region* Thread::find(std::uint64_t address, std::size_t bytes) {
  const Region* region = address - constants_address < constants_.bytes ? &constants_ : memory_.find(address);
  if (region == nullptr) {
    refuse(address, bytes, "no allocation is there");
  }
  return region;
}

void Thread::refuse_undefined(std::uint16_t slot) const {
  throw Trouble{fmt::format("{} is read before it is written", kernel_.slot_names[slot]), {}};
}

void Thread::refuse(std::uint64_t address, std::size_t bytes, const char* reason) {
  throw Trouble{fmt::format("{} bytes at {:#x}: {}", bytes, address, reason), address};
}

}  // namespace sluice::sim::ptx
