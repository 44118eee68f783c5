// Goal: a load in tensor parallel takes as long as storage or the slowest link alone, although each GPU keeps its own
// slices; no extent costs a GPU more than one launch, each link carries what its GPU keeps, and no GPU holds more than
// its block and the plan's scratch.
// Method: whole loads in simulated time (simulated_time.hpp), with a reader and links of given rates, each GPU's
// parameters in a block that the test allocates. Rates are scaled as in load_time_test. What links carry is asked of
// plans for matrices of their real size: gaps that are copied along are bounded in bytes.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "cuda/context.hpp"
#include "cuda/device_memory.hpp"
#include "cuda/kernel_image.hpp"
#include "loader/plan/plan.hpp"
#include "tests/cuda/simulated_time.hpp"
#include "tests/cuda/tensor_parallel.hpp"
#include "tests/loader/support/catalogue_builder.hpp"
#include "tests/loader/support/sanitized.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice {
namespace {

constexpr std::uint64_t serving_slab_bytes = 64 << 10;
constexpr std::uint64_t arena_alignment = 4096;
constexpr sim::Nanoseconds serving_latency = 1'000;
constexpr double serving_kernel_rate = 10e9;

struct Service {
  std::string name;
  unsigned world;
  double read_rate;
  double link_rate;
  Dtype stored = bf16;
  std::uint64_t inner = 512;  // rows of the larger matrices

  friend void PrintTo(const Service& service, std::ostream* out) { *out << service.name; }
};

class ServingTimeTest : public testing::TestWithParam<Service> {
 protected:
  void SetUp() override {
    if (kernel_fatbinary().empty()) GTEST_SKIP() << "built without nvcc";
    sim::Settings settings;
    settings.clock = sim::Clock::stepped;
    settings.devices.resize(GetParam().world);
    for (sim::DeviceSettings& device : settings.devices) {
      device.link_bytes_per_second = GetParam().link_rate;
      device.link_latency = device.kernel_latency = serving_latency;
      device.kernel_bytes_per_second = serving_kernel_rate;
    }
    sim::reset(settings);
  }
  void TearDown() override { sim::reset(); }

  static Options options() {
    Options options;
    options.slab_bytes = serving_slab_bytes;
    options.staging_bytes = 4 * GetParam().world * serving_slab_bytes;
    options.io = IoMode::buffered;
    options.threads = GetParam().world;
    return options;
  }

  /// What an engine has of a GPU before it loads: a context, and a block for its parameters.
  struct Block {
    explicit Block(const PlanCosts::OnDevice& on)
        : context(on.device.ordinal), memory(context, on.arena_bytes + arena_alignment), bytes(on.arena_bytes) {}

    Memory arena(DeviceId device) const {
      const std::uint64_t aligned = (memory.pointer() + arena_alignment - 1) / arena_alignment * arena_alignment;
      return {device, reinterpret_cast<void*>(aligned), bytes};
    }

    const Context context;
    const DeviceMemory memory;
    const std::uint64_t bytes;
  };

  void expect_right(const Load& load) const {
    for (unsigned rank = 0; rank < GetParam().world; ++rank) {
      for (const auto& [name, want] : model_.expected(rank)) {
        const Tensor& got = load.wait(name, cuda(static_cast<int>(rank)));
        std::vector<std::byte> bytes(got.bytes);
        load.read_back(got, 0, bytes.data(), bytes.size());
        EXPECT_TRUE(same_bytes(bytes, want)) << name << " on cuda:" << rank;
      }
    }
  }

  /// The longer of storage alone and the busiest link alone, and an extent's trip through an empty pipeline.
  struct Bound {
    double alone = 0;
    double start_up = 0;
  };
  static Bound bound_of(const PlanCosts& costs) {
    const auto [world, read_rate, link_rate] = std::tuple(GetParam().world, GetParam().read_rate, GetParam().link_rate);
    std::uint64_t link_bytes = 0;
    for (const PlanCosts::OnDevice& on : costs.devices) link_bytes = std::max(link_bytes, on.link_bytes);
    return {static_cast<double>(std::max(time_for(costs.read_bytes, read_rate), time_for(link_bytes, link_rate))),
            static_cast<double>(time_for(serving_slab_bytes, read_rate) + time_for(serving_slab_bytes, link_rate) +
                                2 * serving_latency + time_for(2 * serving_slab_bytes, serving_kernel_rate))};
  }

  const TensorParallel model_{
      .world = GetParam().world, .layers = sanitized ? 1u : 3u, .inner = GetParam().inner, .stored = GetParam().stored};
  const TemporaryFolder folder_;
  const std::filesystem::path file_ = write_shard(folder_, "model.safetensors", model_.tensors(), 3);
};

TEST_P(ServingTimeTest, IsThatOfTheSlowestAlone) {
  const Plan plan = make_plan(Checkpoint::open(folder_.path()), model_.request(), options());
  const PlanCosts& costs = plan.costs();
  {
    std::vector<std::unique_ptr<Block>> blocks;
    StartOptions start;
    for (const PlanCosts::OnDevice& on : costs.devices) {
      blocks.push_back(std::make_unique<Block>(on));
      start.arenas.push_back(blocks.back()->arena(on.device));
    }
    const SimulatedLoad run = load_in_simulated_time(plan, options(), GetParam().read_rate, start);
    const Bound bound = bound_of(costs);
    const auto time = static_cast<double>(run.time);
    EXPECT_LE(time, 1.05 * bound.alone + bound.start_up);
    EXPECT_GE(time, 0.99 * bound.alone) << "nothing can be faster: the model is wrong";
    RecordProperty("percent", static_cast<int>(100 * (time - bound.start_up) / bound.alone));

    EXPECT_LE(run.load.statistics().launches, costs.extents * GetParam().world);
    EXPECT_LE(run.load.statistics().peak_staging_bytes, options().staging_bytes);
    for (unsigned rank = 0; rank < GetParam().world; ++rank) {
      const PlanCosts::OnDevice& on = costs.devices[rank];
      EXPECT_LE(sim::counters().peak_bytes.at(rank), on.arena_bytes + arena_alignment + on.scratch_bytes)
          << "cuda:" << rank;
    }
    with_running_clock([&] { expect_right(run.load); });
  }
  EXPECT_EQ(sim::check_leaks(), 0u);
  for (const sim::Violation& violation : sim::take_violations()) ADD_FAILURE() << violation.message;
}

// Two layers of Llama-3-70B, with slabs as they are by default: nothing of it has to be there.
TEST(ServingCosts, AreALaunchPerExtentAndLinksCarryWhatTheirGpusKeep) {
  for (const Dtype stored : {bf16, f32}) {
    for (const unsigned world : {2u, 4u, 8u}) {
      const TensorParallel model{.world = world,
                                 .hidden = 8192,
                                 .q = 8192,
                                 .kv = 1024,
                                 .inner = 28672,
                                 .vocabulary = 128'256,
                                 .stored = stored};
      CatalogueBuilder builder;
      for (const TestTensor& tensor : model.tensors()) builder.tensor(tensor.name, tensor.dtype, tensor.shape);
      const Plan plan = make_plan(builder.build(), model.request(), {});
      const PlanCosts& costs = plan.costs();
      EXPECT_LE(costs.launches, costs.extents * world);
      for (unsigned rank = 0; rank < world; ++rank) {
        const std::uint64_t kept = model.kept_bytes(rank);
        EXPECT_GE(costs.devices[rank].link_bytes, kept);
        EXPECT_LE(costs.devices[rank].link_bytes * 10, kept * 11) << fmt::format("cuda:{} of {}", rank, world);
      }
    }
  }
}

std::vector<Service> services() {
  std::vector<Service> all;
  // Sanitizers look at the code and not at time: two GPUs run all of it.
  for (const unsigned world : sanitized ? std::vector{2u} : std::vector{2u, 4u, 8u}) {
    all.push_back({fmt::format("{}GpusSlowReader", world), world, 0.5e9, 1e9});
    all.push_back({fmt::format("{}GpusReaderAsFastAsALink", world), world, 1e9, 1e9});
    all.push_back({fmt::format("{}GpusSlowLinks", world), world, 2e9, 1e9 / world});
    all.push_back({fmt::format("{}GpusSlowReaderAndCasts", world), world, 0.5e9, 1e9, f32});
    all.push_back({fmt::format("{}GpusSlowLinksAndCasts", world), world, 2e9, 1e9 / world, f32});
    // Each part of a matrix is longer than staging: read in the order of files, it would leave the other links idle.
    all.push_back({fmt::format("{}GpusSlowLinksAndLargeMatrices", world), world, 2e9, 1e9 / world, bf16, 2048 * world});
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Cuda, ServingTimeTest, testing::ValuesIn(services()),
                         [](const auto& service) { return "On" + service.param.name; });

}  // namespace
}  // namespace sluice
