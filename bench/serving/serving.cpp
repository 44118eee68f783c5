// What does a load in tensor parallel take, beside the slowest of storage and links alone? Whole loads onto 1 to 8
// simulated GPUs in simulated time, which no other work on this machine disturbs: a reader of R bytes a second, links
// of B, copies and kernels of some latency each. The GPUs' parameters lie in a block of the caller's each.
//
// usage: bench_serving [LAYERS [STAGING_MIB]]
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "cuda/context.hpp"
#include "cuda/device_memory.hpp"
#include "tests/cuda/simulated_time.hpp"
#include "tests/cuda/tensor_parallel.hpp"

namespace sluice {
namespace {

// What an engine has of a GPU before it loads.
struct Block {
  static constexpr std::uint64_t alignment = 4096;

  explicit Block(const PlanCosts::OnDevice& on)
      : context(on.device.ordinal), memory(context, on.arena_bytes + alignment), bytes(on.arena_bytes) {}

  Memory arena(DeviceId device) const {
    return {device, reinterpret_cast<void*>((memory.pointer() + alignment - 1) / alignment * alignment), bytes};
  }

  const Context context;
  const DeviceMemory memory;
  const std::uint64_t bytes;
};

// In bytes a second; 64 times as much in the figures.
struct Rates {
  double read;
  double link;
};
constexpr double scale = 64;
constexpr sim::Nanoseconds latency = 1'000;
constexpr double kernel_rate = 10e9;

Options options_for(unsigned world, std::uint64_t staging_bytes) {
  Options options;
  options.slab_bytes = (4 << 20) / static_cast<std::uint64_t>(scale);
  options.staging_bytes = staging_bytes / static_cast<std::uint64_t>(scale);
  options.io = IoMode::buffered;
  options.threads = world;
  return options;
}

void simulate(const Rates& rates, unsigned world) {
  sim::Settings settings;
  settings.clock = sim::Clock::stepped;
  settings.devices.resize(world);
  for (sim::DeviceSettings& device : settings.devices) {
    device.link_bytes_per_second = rates.link;
    device.link_latency = device.kernel_latency = latency;
    device.kernel_bytes_per_second = kernel_rate;
  }
  sim::reset(settings);
}

// An extent's trip through an empty pipeline.
sim::Nanoseconds start_up(const Rates& rates, std::uint64_t slab_bytes) {
  return time_for(slab_bytes, rates.read) + time_for(slab_bytes, rates.link) + 2 * latency +
         time_for(2 * slab_bytes, kernel_rate);
}

void measure(const Rates& rates, const TensorParallel& model, const Checkpoint& checkpoint, const Options& options) {
  simulate(rates, model.world);
  const Plan plan = make_plan(checkpoint, model.request(), options);
  const PlanCosts& costs = plan.costs();
  std::vector<std::unique_ptr<Block>> blocks;
  StartOptions start;
  for (const PlanCosts::OnDevice& on : costs.devices) {
    blocks.push_back(std::make_unique<Block>(on));
    start.arenas.push_back(blocks.back()->arena(on.device));
  }
  const SimulatedLoad run = load_in_simulated_time(plan, options, rates.read, start);

  std::uint64_t link_bytes = 0;
  double link_share = 0;    // of what is kept, on the link that carries most beyond it
  double memory_share = 0;  // of block and scratch, on the GPU that holds most beyond them
  for (unsigned rank = 0; rank < model.world; ++rank) {
    const PlanCosts::OnDevice& on = costs.devices[rank];
    link_bytes = std::max(link_bytes, on.link_bytes);
    link_share = std::max(link_share, static_cast<double>(on.link_bytes) / static_cast<double>(model.kept_bytes(rank)));
    memory_share =
        std::max(memory_share, static_cast<double>(sim::counters().peak_bytes.at(rank)) /
                                   static_cast<double>(on.arena_bytes + Block::alignment + on.scratch_bytes));
  }
  const auto reading = static_cast<double>(time_for(costs.read_bytes, rates.read));
  const auto moving = static_cast<double>(time_for(link_bytes, rates.link));
  const auto time = static_cast<double>(run.time);
  const Stats stats = run.load.statistics();
  fmt::print("| {} | {:.1f} | {:.1f} | {} | {:.2f} | {:.2f} | {:.2f} | {:.3f} | {} | {} | {} | {:.3f} | {:.3f} |\n",
             name(model.stored), rates.read * scale / 1e9, rates.link * scale / 1e9, model.world, reading / 1e6,
             moving / 1e6, time / 1e6,
             (time - static_cast<double>(start_up(rates, options.slab_bytes))) / std::max(reading, moving),
             costs.extents, stats.copies, stats.launches, link_share, memory_share);
}

void measure_all(unsigned layers, std::uint64_t staging_bytes) {
  fmt::print(
      "| stored as | storage GB/s | links GB/s | GPUs | reading alone, ms | busiest link alone, ms | load, ms | "
      "without "
      "start-up, of the slower | extents | copies | launches | link bytes of kept | peak of block and scratch |\n"
      "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
  // Llama-3-70B's layers, with a 64th of their bytes.
  TensorParallel model{.layers = layers, .hidden = 1024, .q = 1024, .kv = 128, .inner = 3584, .vocabulary = 2004};
  for (const Dtype stored : {bf16, f32}) {
    model.stored = stored;
    const TemporaryFolder folder;
    const Checkpoint checkpoint = Checkpoint::open(write_shard(folder, "model.safetensors", model.tensors(), 3));
    for (const auto& [read, link] : {std::pair(10e9, 50e9), {50e9, 50e9}, {50e9, 25e9}, {200e9, 25e9}}) {
      for (const unsigned world : {2u, 4u, 8u}) {
        model.world = world;
        measure({read / scale, link / scale}, model, checkpoint, options_for(world, staging_bytes));
      }
    }
  }
  sim::reset();
}

}  // namespace
}  // namespace sluice

int main(int count, char** arguments) {
  const auto number = [&](int index, unsigned otherwise) {
    return count > index ? static_cast<unsigned>(std::max(1, std::atoi(arguments[index]))) : otherwise;
  };
  sluice::measure_all(number(1, 2), std::uint64_t{number(2, 128)} << 20);
  return 0;
}
