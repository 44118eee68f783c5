// Goal: the layouts that engines serve models in arrive byte for byte on a GPU per rank, whatever the driver's order of
// doing things.
// Method: small models on the simulated driver, against references in plain loops.
#include "tests/loader/support/layouts.hpp"

#include <gmock/gmock.h>

#include "loader/plan/access.hpp"
#include "tests/cuda/gpu_callers_memory.hpp"
#include "tests/cuda/gpu_loads.hpp"

namespace sluice {
namespace {

using GpuLayouts = GpuLoads;

TEST_F(GpuLayouts, ArriveForEveryRank) {
  if (!sim::is_simulated()) GTEST_SKIP() << "only the simulator has as many GPUs as a layout has ranks";
  for (std::uint64_t seed = 1; seed <= (sanitized ? 1 : 4); ++seed) {
    for (const auto& layout : all_layouts()) {
      SCOPED_TRACE(fmt::format("{}, seed {}", layout->name(), seed));
      sim::Settings settings = in_order_of(seed);
      settings.devices.resize(layout->world(), settings.devices.front());
      sim::reset(settings);
      {
        CallersGpuMemory memory;
        if (seed % 2 == 0) layout->take_memory_from(memory);
        const Checkpoint checkpoint = Checkpoint::open(
            write_shard(folder_, "layout.safetensors", layout->tensors(), static_cast<unsigned>(seed)));
        const std::vector<Rank> ranks = ranks_of(layout->world(), true);
        const Plan plan = make_plan(checkpoint, request_of(*layout, ranks), small_slabs());
        EXPECT_EQ(check_plan(*Access::data(plan)), "");
        Engine engine(small_slabs());
        const Load load = engine.start(plan);
        load.wait();
        expect_laid_out(load, *layout, ranks);
      }
      expect_clean();
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace sluice
