// Goal: loads onto GPUs deliver what the host would get, whatever the driver's order of doing things, and end in one
// clean error, with everything given back, whatever call or operation fails.
// Method: whole loads on the simulated driver, which is strict: each kind under 200 seeds; then each call, allocation
// and operation of a load failed once in turn.
#include "cuda/cuda_device.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "cuda/device_memory.hpp"
#include "cuda/kernel_image.hpp"
#include "tests/cuda/gpus.hpp"
#include "tests/loader/small_model.hpp"
#include "tests/sim/control.hpp"

namespace sluice {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t seeds = 3;  // sanitizers look at the code, not at the order
constexpr std::uint64_t uses = 2;
#else
constexpr std::uint64_t seeds = 200;
constexpr std::uint64_t uses = 10;  // of one call that are failed in turn: all of them if they are few
#endif

constexpr std::uint64_t repetitions = 20;  // on a real device, whose order nobody sets

// Several extents in slabs of 64 KiB, none of them aligned, and one of so many tensors that its table is full.
std::vector<TestTensor> model() {
  std::vector<TestTensor> tensors = {{"scalar", f64, {}},    {"none", bf16, {0, 7}},       {"embed", f32, {40, 300}},
                                     {"norm", bf16, {33}},   {"down", bf16, {90, 200}},    {"ids", i64, {51}},
                                     {"packed", f4, {3, 2}}, {"eight", f8_e4m3, {30, 99}}, {"half", f16, {7, 31}}};
  for (int i = 0; i < 150; ++i) tensors.push_back({fmt::format("scale {}", i), f32, {}});
  return tensors;
}

Options small_slabs() {
  Options options;
  options.staging_bytes = 256 << 10;
  options.slab_bytes = 64 << 10;
  options.threads = 2;
  return options;
}

/// Eager, lazy, and from then on random.
sim::Settings in_order_of(std::uint64_t seed) {
  sim::Settings settings;
  settings.seed = seed;
  settings.policy = seed == 1 ? sim::Policy::eager : seed == 2 ? sim::Policy::lazy : sim::Policy::random;
  return settings;
}

struct Kind {
  std::vector<DeviceId> devices;
  std::optional<Dtype> cast;
};

class CudaDeviceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (kernel_fatbinary().empty()) GTEST_SKIP() << "built without nvcc";
    sim::reset();
  }
  void TearDown() override { sim::reset(); }

  Plan plan_of(const Kind& kind) const {
    Request request = everything(kind.cast);
    request.devices = kind.devices;
    return make_plan(Checkpoint::open(file_.string()), request, small_slabs());
  }

  /// That every device has every tensor, and each is right.
  void expect_right(const Load& load, const Kind& kind) const {
    load.wait();
    for (const DeviceId device : kind.devices) {
      for (const TestTensor& tensor : tensors_) {
        const Dtype dtype = kind.cast && is_castable(tensor.dtype) ? *kind.cast : tensor.dtype;
        const std::vector<std::byte> want = expected(tensor, dtype);
        const Tensor* const got = load.find(tensor.name, device);
        ASSERT_NE(got, nullptr) << tensor.name << " on " << name(device);
        std::vector<std::byte> bytes(got->bytes);
        load.read_back(*got, 0, bytes.data(), bytes.size());
        ASSERT_TRUE(bytes == want) << tensor.name << " on " << name(device) << ": delivered bytes differ";
      }
    }
  }

  static void expect_clean() {
    sim::check_leaks();
    for (const sim::Violation& violation : sim::take_violations()) {
      ADD_FAILURE() << sim::name(violation.rule) << ": " << violation.message;
    }
  }

  TemporaryFolder folder_;
  const std::vector<TestTensor> tensors_ = model();
  const std::filesystem::path file_ = write_shard(folder_, "model.safetensors", tensors_, 3);
};

bool names_second_gpu(const Kind& kind) {
  return std::find(kind.devices.begin(), kind.devices.end(), cuda(1)) != kind.devices.end();
}

class CudaLoadTest : public CudaDeviceTest, public testing::WithParamInterface<Kind> {};

TEST_P(CudaLoadTest, DeliversTheSameInEveryOrder) {
  if (gpus() < 2 && names_second_gpu(GetParam())) GTEST_SKIP() << "there is one GPU";
  for (std::uint64_t seed = 1; seed <= (sim::is_simulated() ? seeds : repetitions); ++seed) {
    sim::reset(in_order_of(seed));
    {
      Engine engine(small_slabs());
      const Plan plan = plan_of(GetParam());
      const Load load = engine.start(plan);
      expect_right(load, GetParam());
      const Stats stats = load.statistics();
      EXPECT_EQ(stats.copies, plan.costs().copies);
      EXPECT_EQ(stats.launches, plan.costs().launches);
    }
    expect_clean();
    if (HasFailure()) FAIL() << "with seed " << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(Cuda, CudaLoadTest,
                         testing::Values(Kind{{cuda(0)}, {}}, Kind{{cuda(0)}, f32}, Kind{{cuda(0)}, bf16},
                                         Kind{{cuda(0)}, f8_e4m3}, Kind{{cuda(0), cuda(1)}, {}},
                                         Kind{{cuda(0), cuda(1)}, f32}, Kind{{cuda(1), host()}, {}},
                                         Kind{{host(), cuda(0)}, f16}),
                         [](const testing::TestParamInfo<Kind>& tested) {
                           std::string text;
                           for (const DeviceId device : tested.param.devices) text += name(device);
                           std::erase(text, ':');
                           return text + "_" + (tested.param.cast ? std::string(name(*tested.param.cast)) : "as_it_is");
                         });

/// The second, where there is one.
DeviceId last_gpu() {
  return cuda(gpus() < 2 ? 0 : 1);
}

Kind cast_on_two() {
  return {gpus() < 2 ? std::vector{cuda(0)} : std::vector{cuda(0), cuda(1)}, bf16};
}

Options traced() {
  Options options = small_slabs();
  options.trace = true;  // its calls fail, too
  return options;
}

TEST_F(CudaDeviceTest, EachCallThatFailsOnceEndsTheLoadInOneErrorAndTheNextLoadIsRight) {
  {
    Engine engine(traced());
    expect_right(engine.start(plan_of(cast_on_two())), cast_on_two());
  }
  const auto calls = sim::counters().calls;
  expect_clean();
  for (const auto& [call, count] : calls) {
    if (call == "cuGetProcAddress") continue;  // the table of calls is made once a process
    for (std::uint64_t nth = 1; nth <= count; nth += std::max<std::uint64_t>(1, count / uses)) {
      SCOPED_TRACE(fmt::format("{}, use {} of {}", call, nth, count));
      sim::reset();
      {
        // How often an event is waited for is a matter of timing: what did not fail this load fails the next.
        bool failed = false;
        Engine engine(traced());
        sim::fail_call(call, nth, call == "cuMemAlloc" ? cu::Result::out_of_memory : cu::Result::unknown);
        try {
          expect_right(engine.start(plan_of(cast_on_two())), cast_on_two());
        } catch (const Error& error) {
          EXPECT_THAT(error.code(), testing::AnyOf(ErrorCode::device_unavailable, ErrorCode::out_of_memory));
          EXPECT_FALSE(error.hint().empty()) << error.what();
          failed = true;
        }
        try {
          expect_right(engine.start(plan_of(cast_on_two())), cast_on_two());
        } catch (const Error& error) {
          EXPECT_FALSE(failed) << "the next load: " << error.what();
        }
      }
      // Where the context cannot be made current, nothing can be given back either.
      if (call == "cuCtxPushCurrent") sim::reset();
      expect_clean();
    }
  }
}

TEST_F(CudaDeviceTest, EachOperationThatFailsEndsTheLoadInOneError) {
  const Plan plan = plan_of(cast_on_two());
  for (std::uint64_t nth = 1; nth <= plan.costs().copies + plan.costs().launches; ++nth) {
    SCOPED_TRACE(fmt::format("operation {}", nth));
    sim::reset();
    {
      Engine engine(small_slabs());
      const Load load = engine.start(plan);
      sim::fail_operation(nth);
      try {
        expect_right(load, cast_on_two());
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::device_unavailable);
      }
    }
    expect_clean();
  }
}

TEST_F(CudaDeviceTest, ALoadCanBeLeftAtAnyMoment) {
  for (std::size_t taken = 0; taken < 8; ++taken) {
    sim::Settings settings;
    settings.policy = sim::Policy::lazy;
    sim::reset(settings);
    {
      Engine engine(small_slabs());
      const Load load = engine.start(plan_of(cast_on_two()));
      for (std::size_t i = 0; i < taken; ++i) load.arrival(i * 40);
    }
    expect_clean();
  }
}

TEST_F(CudaDeviceTest, SaysHowMuchMemoryIsMissingBeforeTheFirstRead) {
  sim::Settings settings;
  settings.devices[1].memory_bytes = 64 << 10;
  sim::reset(settings);
  {
    Engine engine(small_slabs());
    try {
      engine.start(plan_of(cast_on_two())).wait();
      FAIL() << "it was loaded";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
      EXPECT_THAT(error.what(), testing::HasSubstr("cuda:1"));
    }
    EXPECT_EQ(sim::counters().calls["cuMemAlloc"], 0u);
  }
  expect_clean();
}

TEST_F(CudaDeviceTest, LoadsNoKernelWhereNothingIsCast) {
  {
    Engine engine(small_slabs());
    Request request;
    request.devices = {cuda(0)};
    request.add("embed");
    engine.start(make_plan(Checkpoint::open(file_.string()), request, small_slabs())).wait();
    EXPECT_EQ(sim::counters().calls["cuLaunchKernel"], 0u);
    EXPECT_EQ(sim::counters().on_default_streams, 0u);
  }
  expect_clean();
}

TEST_F(CudaDeviceTest, EachGpuGetsItsPartOfAnExtentThatTheyShare) {
  if (gpus() < 2) GTEST_SKIP() << "there is one GPU";
  const std::vector<TestTensor> halves = {{"first", f32, {1 << 16}}, {"second", f32, {1 << 16}}};
  const auto file = write_shard(folder_, "halves.safetensors", halves);
  {
    Engine engine;
    Request request;
    request.add("first").cast(f16).on(cuda(0));
    request.add("second").cast(f16).on(cuda(1));
    const Load load = engine.start(make_plan(Checkpoint::open(file.string()), request));
    load.wait();
    EXPECT_EQ(load.statistics().extents, 1u);
    for (const TestTensor& half : halves) {
      const Tensor& tensor = load.wait(half.name);
      std::vector<std::byte> bytes(tensor.bytes);
      load.read_back(tensor, 0, bytes.data(), bytes.size());
      EXPECT_TRUE(bytes == expected(half, f16)) << half.name;
    }
    const std::uint64_t tables_and_alignment = 2 * 4096;
    EXPECT_LE(sim::counters().bytes_in, halves.size() * (4 << 16) + tables_and_alignment);
  }
  expect_clean();
}

TEST_F(CudaDeviceTest, ArenasLieAtBlocksAndAreReadBackFromAnyByte) {
  std::vector<TestTensor> large = {{"large", u8, {(5 << 20) + 3}}};
  const auto file = write_shard(folder_, "large.safetensors", large);
  {
    CudaDevice device(last_gpu().ordinal);
    EXPECT_EQ(device.id(), last_gpu());
    EXPECT_EQ(device.allocate(0)->data(), nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(device.allocate(3 << 20)->data()) % 4096, 0u);
    Engine engine;
    Request request = everything();
    request.devices = {last_gpu()};
    const Load load = engine.start(make_plan(Checkpoint::open(file.string()), request));
    const Tensor& tensor = load.wait("large");
    std::vector<std::byte> bytes(tensor.bytes - 5);
    load.read_back(tensor, 5, bytes.data(), bytes.size());
    const std::vector<std::byte> want = large[0].content();
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), want.begin() + 5));
  }
  expect_clean();
}

TEST_F(CudaDeviceTest, UsesMemoryOfTheDriversWhereItPinsNoOther) {
  {
    Engine engine(small_slabs());
    sim::fail_call("cuMemHostRegister", 1, cu::Result::not_permitted);
    const Load load = engine.start(plan_of(cast_on_two()));
    expect_right(load, cast_on_two());
    const std::vector<Fallback> fallbacks = load.statistics().fallbacks;
    const auto told = std::find_if(fallbacks.begin(), fallbacks.end(),
                                   [](const Fallback& fallback) { return fallback.what == "pinned slabs"; });
    ASSERT_NE(told, fallbacks.end());
    EXPECT_THAT(told->reason, testing::HasSubstr("cuMemHostRegister"));
    expect_right(engine.start(plan_of(cast_on_two())), cast_on_two());
    EXPECT_EQ(sim::counters().calls["cuMemHostRegister"], 1u) << "what was refused is not asked for again";
  }
  expect_clean();
}

TEST_F(CudaDeviceTest, StartsUpBeforeTheFirstLoadWherePrepared) {
  {
    Engine engine(small_slabs());
    engine.prepare(cast_on_two().devices);
    engine.prepare({cuda(7), host()});  // what is wrong here is told by the load that asks for it
    const auto load = std::make_unique<Load>(engine.start(plan_of(cast_on_two())));
    expect_right(*load, cast_on_two());
    EXPECT_THROW(engine.start(plan_of({{cuda(7)}, {}})).wait(), Error);
    expect_right(engine.start(plan_of(cast_on_two())), cast_on_two());
    EXPECT_EQ(sim::counters().calls["cuDevicePrimaryCtxRetain"], 2u);
  }
  expect_clean();
}

TEST_F(CudaDeviceTest, AStreamWaitsForATensorThatTheHostHasNotSeenArrive) {
  for (std::uint64_t seed = 1; seed <= (sim::is_simulated() ? seeds : repetitions); ++seed) {
    SCOPED_TRACE(seed);
    sim::reset(in_order_of(seed));
    {
      const Context context(last_gpu().ordinal);
      Engine engine(small_slabs());
      const Load load = engine.start(plan_of(cast_on_two()));
      const CurrentContext current(context);
      const Stream stream(context);
      for (const TestTensor& wanted : tensors_) {
        const Tensor& tensor = load.wait_on(stream.handle(), wanted.name, last_gpu());
        if (tensor.bytes == 0) continue;
        const PinnedMemory copied(context, tensor.bytes);
        context.check(
            context.driver().cuMemcpyDtoHAsync(copied.data(), reinterpret_cast<cu::DevicePointer>(tensor.data),
                                               tensor.bytes, stream.handle()),
            "cuMemcpyDtoHAsync");
        stream.synchronize();
        const std::vector<std::byte> want = expected(wanted, tensor.dtype);
        EXPECT_EQ(std::memcmp(want.data(), copied.data(), want.size()), 0) << wanted.name;
      }
      EXPECT_EQ(load.wait_on(nullptr, "embed", last_gpu()).device, last_gpu()) << "the default stream will do";
      EXPECT_THROW(load.wait_on(stream.handle(), "missing"), Error);
      load.wait();
    }
    expect_clean();
    if (HasFailure()) return;
  }
}

TEST_F(CudaDeviceTest, WaitingOnAStreamForTheHostsTensorsIsWaiting) {
  {
    Engine engine(small_slabs());
    const Kind kind{{host()}, bf16};
    const Load load = engine.start(plan_of(kind));
    EXPECT_EQ(load.find("embed"), &load.wait_on(nullptr, "embed"));
  }
  expect_clean();
}

TEST_F(CudaDeviceTest, OldDriversGetTheSameCodeAsOldPtx) {
  for (const int version : {11000, 11040, 12040}) {
    SCOPED_TRACE(version);
    sim::Settings settings;
    settings.driver_version = version;
    sim::reset(settings);
    {
      Engine engine(small_slabs());
      expect_right(engine.start(plan_of(cast_on_two())), cast_on_two());
    }
    expect_clean();
  }
}

}  // namespace
}  // namespace sluice
