// Goal: every kind of load onto GPUs delivers what the host would get, whatever the driver's order of doing things, and
// asks the driver for no more than it must.
// Method: whole loads on the simulated driver, which is strict, each kind in 200 orders that the seed gives; thousands
// by hand: SLUICE_SEEDS=5000 build/release/tests/cuda_test --gtest_filter='*CudaLoad*'. Then calls are counted.
#include <gmock/gmock.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sluice/sluice.hpp"
#include "tests/cuda/gpu_loads.hpp"

namespace sluice {
namespace {

struct Kind {
  const char* name;
  std::vector<DeviceId> devices;
  std::function<void(Request&)> rules;
  std::function<void(Options&)> options = [](Options&) {};
  std::size_t loads = 1;  // on one engine, begun together
  bool shards = false;    // of several, not of one

  friend void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }
};

std::function<void(Request&)> cast_to(Dtype dtype) {
  return [dtype](Request& request) { request.add("*").cast(dtype); };
}

void as_it_is(Request& request) {
  request.add("*");
}

/// More than there are scratch slabs, which are then waited for.
void many_slabs(Options& options) {
  options.staging_bytes = 16 * options.slab_bytes;
}

void placed_by_rules(Request& request) {
  request.add("embed").cast(bf16).on(cuda(0));
  request.add("d*").on({cuda(1), cuda(0)});
  request.add("scale *[02468]").on(cuda(1));
  request.add("scale *").cast(f16).on({host(), cuda(1)});
  request.add("*").cast(f32).on(cuda(0));
}

void scattered(Request& request) {
  request.add("scale *[147]");
  request.add("e*");
}

std::vector<Kind> kinds() {
  const std::vector both{cuda(0), cuda(1)};
  return {{"as_it_is", {cuda(0)}, as_it_is},
          {"to_F64", {cuda(0)}, cast_to(f64)},
          {"to_F32", {cuda(0)}, cast_to(f32)},
          {"to_F16", {cuda(0)}, cast_to(f16)},
          {"to_BF16", {cuda(0)}, cast_to(bf16)},
          {"to_F8_E4M3", {cuda(0)}, cast_to(f8_e4m3)},
          {"to_F8_E5M2", {cuda(0)}, cast_to(f8_e5m2)},
          {"scattered", {cuda(0)}, scattered},
          {"packed", {cuda(0)}, [](Request& request) { request.alignment_bytes = 1, request.add("*"); }},
          {"buffered_by_threads",
           {cuda(0)},
           cast_to(bf16),
           [](Options& options) { options.reader = ReaderKind::pread, options.io = IoMode::buffered; }},
          {"traced", {cuda(0)}, cast_to(f16), [](Options& options) { options.trace = true; }},
          {"with_the_host", {host(), cuda(0)}, cast_to(f16)},
          {"of_shards", {cuda(0)}, as_it_is, many_slabs, 1, true},
          {"of_shards_to_BF16", {cuda(0)}, cast_to(bf16), many_slabs, 1, true},
          {"two_of_shards_to_F8_E4M3", both, cast_to(f8_e4m3), many_slabs, 1, true},
          {"two_loads", {cuda(0)}, cast_to(bf16), [](Options&) {}, 2},
          {"two_as_they_are", both, as_it_is},
          {"two_to_F32", both, cast_to(f32)},
          {"two_placed_by_rules", both, placed_by_rules}};
}

std::uint64_t seeds() {
  const char* const wish = std::getenv("SLUICE_SEEDS");
  return wish == nullptr ? (orders() + 1) / 2 : std::strtoull(wish, nullptr, 10);  // of each of a dozen kinds
}

bool needs_two(const Kind& kind) {
  return std::find(kind.devices.begin(), kind.devices.end(), cuda(1)) != kind.devices.end();
}

class CudaLoadTest : public GpuLoads, public testing::WithParamInterface<Kind> {
 protected:
  void SetUp() override {
    GpuLoads::SetUp();
    if (!IsSkipped() && needs_two(GetParam()) && gpus() < 2) GTEST_SKIP() << "there is one GPU";
  }
};

TEST_P(CudaLoadTest, DeliversTheSameInEveryOrder) {
  Options options = small_slabs();
  GetParam().options(options);
  Request request;
  request.devices = GetParam().devices;
  GetParam().rules(request);
  const auto path = GetParam().shards ? shards_.path() : file_;
  const Plan plan = make_plan(Checkpoint::open(path), request, options);
  for (std::uint64_t seed = 1; seed <= seeds(); ++seed) {
    sim::reset(in_order_of(seed));
    {
      Engine engine(options);
      std::vector<Load> loads;
      while (loads.size() < GetParam().loads) loads.push_back(engine.start(plan));
      for (const Load& load : loads) {
        expect_right(load, plan);
        const Stats stats = load.statistics();
        EXPECT_EQ(stats.bytes, plan.costs().read_bytes);
        EXPECT_EQ(stats.extents, plan.costs().extents);
        EXPECT_EQ(stats.copies, plan.costs().copies);
        EXPECT_EQ(stats.launches, plan.costs().launches);
      }
    }
    expect_clean();
    if (HasFailure()) FAIL() << "with seed " << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(Cuda, CudaLoadTest, testing::ValuesIn(kinds()),
                         [](const auto& tested) { return std::string(tested.param.name); });

// --- calls ----------------------------------------------------------------------------------------------------------

/// As safetensors writes it: the dtypes one after the other, wide ones first.
std::vector<TestTensor> mixture_of_experts() {
  constexpr int layers = 60;
  constexpr int experts = sanitized ? 8 : 55;
  std::vector<TestTensor> scales;
  std::vector<TestTensor> norms;
  std::vector<TestTensor> weights;
  for (int layer = 0; layer < layers; ++layer) {
    norms.push_back({fmt::format("layers.{}.norm.weight", layer), bf16, {128}});
    norms.push_back({fmt::format("layers.{}.gate.weight", layer), bf16, {64, 2}});
    for (int expert = 0; expert < experts; ++expert) {
      for (const char* const projection : {"down", "gate", "up"}) {
        const std::string tensor = fmt::format("layers.{}.experts.{}.{}.weight", layer, expert, projection);
        weights.push_back({tensor, f8_e4m3, {8, 8}});
        scales.push_back({tensor + "_scale_inv", f32, {1}});
      }
    }
  }
  std::vector<TestTensor> tensors = std::move(scales);
  tensors.insert(tensors.end(), norms.begin(), norms.end());
  tensors.insert(tensors.end(), weights.begin(), weights.end());
  return tensors;
}

class CallsTest : public GpuLoads {
 protected:
  struct Counted {
    PlanCosts costs;
    std::map<std::string, std::uint64_t, std::less<>> calls;

    std::uint64_t of(std::string_view call) const {
      const auto found = calls.find(call);
      return found == calls.end() ? 0 : found->second;
    }
    std::uint64_t all() const {
      return std::accumulate(calls.begin(), calls.end(), std::uint64_t{0},
                             [](std::uint64_t sum, const auto& call) { return sum + call.second; });
    }
  };

  /// What the second of two loads on an engine asks the driver for. A tensor in eleven is compared.
  Counted count(const std::vector<DeviceId>& devices, std::optional<Dtype> cast) {
    const std::vector<TestTensor> tensors = mixture_of_experts();
    const auto file = write_shard(folder_, "experts.safetensors", tensors);
    Options options;
    options.slab_bytes = 64 << 10;
    options.staging_bytes = 1 << 20;
    Request request = everything(cast);
    request.devices = devices;
    const Plan plan = make_plan(Checkpoint::open(file.string()), request, options);
    EXPECT_GE(plan.costs().extents, sanitized ? 2u : 10u);
    Counted counted{plan.costs(), {}};
    {
      Engine engine(options);
      engine.start(plan).wait();
      const sim::Counters before = sim::counters();
      const Load load = engine.start(plan);
      load.wait();
      counted.calls = sim::counters().calls;
      for (auto& [call, uses] : counted.calls) uses -= before.calls.contains(call) ? before.calls.at(call) : 0;

      for (const DeviceId device : devices) {
        for (std::size_t i = 0; i < tensors.size(); i += 11) {
          expect_holds(load, load.wait(tensors[i].name, device), tensors[i]);
        }
      }
    }
    expect_clean();
    return counted;
  }

  /// Copies, a launch, the events that keep them in order, and waiting for them; arenas, streams and events of a load.
  static std::uint64_t bound(const Counted& counted, std::uint64_t devices) {
    return devices * (16 * counted.costs.extents + 100);
  }
};

TEST_F(CallsTest, TakeACopyOrTwoAnExtentAndNoLaunchForExpertsAsTheyAre) {
  const Counted counted = count({cuda(0)}, {});
  EXPECT_LE(counted.of("cuMemcpyHtoDAsync"), 2 * counted.costs.extents);
  EXPECT_EQ(counted.of("cuLaunchKernel"), 0u);
  EXPECT_EQ(counted.of("cuMemCreate"), 1u) << "the arena";
  EXPECT_EQ(counted.of("cuMemAlloc"), 0u);
  EXPECT_LE(counted.all(), bound(counted, 1));
}

TEST_F(CallsTest, TakeACopyOrTwoAndALaunchAnExtentForExpertsThatAreCast) {
  const Counted counted = count({cuda(0)}, bf16);
  EXPECT_LE(counted.of("cuMemcpyHtoDAsync"), 2 * counted.costs.extents);
  EXPECT_LE(counted.of("cuLaunchKernel"), counted.costs.extents);
  EXPECT_EQ(counted.of("cuMemCreate"), 1u) << "the arena";
  EXPECT_EQ(counted.of("cuMemAlloc"), 1u) << "scratch";
  EXPECT_LE(counted.all(), bound(counted, 1));
}

TEST_F(CallsTest, AreAsManyForEachOfTwoGpus) {
  if (gpus() < 2) GTEST_SKIP() << "there is one GPU";
  for (const std::optional<Dtype> cast : {std::optional<Dtype>(), {bf16}}) {
    const Counted counted = count({cuda(0), cuda(1)}, cast);
    EXPECT_LE(counted.of("cuMemcpyHtoDAsync"), 2 * 2 * counted.costs.extents);
    EXPECT_LE(counted.of("cuLaunchKernel"), cast ? 2 * counted.costs.extents : 0);
    EXPECT_EQ(counted.of("cuMemCreate"), 2u);
    EXPECT_EQ(counted.of("cuMemAlloc"), cast ? 2u : 0u);
    EXPECT_LE(counted.all(), bound(counted, 2));
  }
}

}  // namespace
}  // namespace sluice
