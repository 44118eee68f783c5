// Goal: loads onto GPUs end in one clean error, with everything given back, whatever call, allocation or operation
// fails; and what else a device promises: start-up ahead of loads, streams that wait, old drivers.
// Method: whole loads on the simulated driver, which is strict, with each call and operation failed once in turn.
// cuda_load_test has loads of all kinds in all orders.
#include "cuda/cuda_device.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "cuda/device_memory.hpp"
#include "loader/base/memory.hpp"
#include "tests/cuda/gpu_loads.hpp"
#include "tests/fallbacks/engine_here.hpp"
#include "tests/loader/support/refusals.hpp"

namespace sluice {
namespace {

/// The second, where there is one.
DeviceId last_gpu() {
  return cuda(gpus() < 2 ? 0 : 1);
}

class CudaDeviceTest : public GpuLoads {
 protected:
  /// All of it, cast, onto these.
  Plan plan_of(const std::vector<DeviceId>& devices) const { return plan_of(file_, devices); }
  static Plan plan_of(const std::filesystem::path& file, const std::vector<DeviceId>& devices) {
    Request request = everything(bf16);
    request.devices = devices;
    return make_plan(Checkpoint::open(file.string()), request, small_slabs());
  }
  void load_right(Engine& engine, const std::vector<DeviceId>& devices) const {
    const Plan plan = plan_of(devices);
    expect_right(engine.start(plan), plan);
  }
};

Options traced() {
  Options options = small_slabs();
  options.trace = true;  // its calls fail, too
  return options;
}

TEST_F(CudaDeviceTest, EachCallThatFailsOnceEndsTheLoadInOneErrorAndTheNextLoadIsRight) {
  const Plan plan = plan_of(few_, two_gpus());
  {
    Engine engine(traced());
    expect_right(engine.start(plan), plan);
  }
  const auto calls = sim::counters().calls;
  expect_clean();
  for (const auto& [call, count] : calls) {
    if (call == "cuGetProcAddress") continue;  // the table of calls is made once per process
    // Sanitizers make loads slow: they see the first use of each. This call stands before and after all others.
    const std::uint64_t uses = sanitized ? 1 : call == "cuThreadExchangeStreamCaptureMode" ? 8 : count;
    for (std::uint64_t nth = 1; nth <= uses; ++nth) {
      SCOPED_TRACE(fmt::format("{}, use {} of {}", call, nth, count));
      sim::reset();
      {
        // How often an event is waited for is a matter of timing: what did not fail this load fails the next.
        bool failed = false;
        Engine engine(traced());
        const bool allocates = call == "cuMemAlloc" || call == "cuMemCreate";
        sim::fail_call(call, nth, allocates ? cu::Result::out_of_memory : cu::Result::unknown);
        try {
          expect_right(engine.start(plan), plan);
        } catch (const Error& error) {
          EXPECT_THAT(error.code(), testing::AnyOf(ErrorCode::device_unavailable, ErrorCode::out_of_memory));
          EXPECT_FALSE(error.hint().empty()) << error.what();
          failed = true;
        }
        try {
          expect_right(engine.start(plan), plan);
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
  const Plan plan = plan_of(two_gpus());
  for (std::uint64_t nth = 1; nth <= plan.costs().copies + plan.costs().launches; ++nth) {
    SCOPED_TRACE(fmt::format("operation {}", nth));
    sim::reset();
    {
      Engine engine(small_slabs());
      const Load load = engine.start(plan);
      sim::fail_operation(nth);
      try {
        expect_right(load, plan);
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
      const Load load = engine.start(plan_of(two_gpus()));
      for (std::size_t i = 0; i < taken; ++i) load.arrival(i * 40);
    }
    expect_clean();
  }
}

TEST_F(CudaDeviceTest, SaysHowMuchMemoryIsMissingBeforeAnythingIsAllocated) {
  sim::Settings settings;
  settings.devices[1].memory_bytes = 64 << 10;
  sim::reset(settings);
  {
    Engine engine(small_slabs());
    try {
      engine.start(plan_of(two_gpus())).wait();
      FAIL() << "it was loaded";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
      EXPECT_THAT(error.what(), testing::HasSubstr("cuda:1"));
    }
    EXPECT_EQ(sim::counters().calls["cuMemAlloc"] + sim::counters().calls["cuMemCreate"], 0u);
  }
  expect_clean();
}

// An arena takes whole units, so that what is free beside them is for none: such a load is told before it begins.
TEST_F(CudaDeviceTest, CountsAsFreeWhatArenasCanBeMadeOf) {
  const auto file = write_shard(folder_, "large.safetensors", {{"large", Dtype::u8, {(4 << 20) + 1}}});
  for (const bool mapped : {true, false}) {
    SCOPED_TRACE(mapped);
    sim::Settings settings;
    settings.devices[0].memory_bytes = 5 << 20;
    settings.devices[0].virtual_memory = mapped;
    sim::reset(settings);
    EXPECT_EQ(CudaDevice(0).free_bytes(), (mapped ? 4u : 5u) << 20);
    {
      Engine engine(small_slabs());
      Request request = everything();
      request.devices = {cuda(0)};
      const Plan plan = make_plan(Checkpoint::open(file.string()), request, small_slabs());
      try {
        engine.start(plan).wait();
        EXPECT_FALSE(mapped);
      } catch (const Error& error) {
        EXPECT_TRUE(mapped);
        EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
        EXPECT_THAT(error.what(), testing::HasSubstr("4194304 are free"));
        EXPECT_EQ(sim::counters().calls["cuMemCreate"], 0u);
      }
    }
    expect_clean();
  }
}

sim::Settings integrated() {
  sim::Settings settings;
  settings.devices[0].integrated = true;
  settings.devices[0].memory_bytes = 1 << 20;
  return settings;
}

TEST_F(CudaDeviceTest, AnIntegratedGpuHasWhatTheHostHas) {
  sim::reset(integrated());
  {
    const CudaDevice device(0);
    EXPECT_TRUE(device.shares_host_memory());
    EXPECT_GT(device.free_bytes(), integrated().devices[0].memory_bytes) << "what its driver calls free";
    const CudaDevice other(1);
    EXPECT_FALSE(other.shares_host_memory());
    EXPECT_EQ(other.free_bytes(), integrated().devices[1].memory_bytes);
  }
  expect_clean();
}

TEST_F(CudaDeviceTest, WhatAnIntegratedGpuAndTheHostNeedIsHeldAgainstOneMemory) {
  sim::reset(integrated());
  // Each of them fits, both do not. The file has no content, and is not read.
  const std::uint64_t bytes = available_memory_bytes() / 4 * 3;
  const std::string header = fmt::format(R"({{"big":{{"dtype":"U8","shape":[{0}],"data_offsets":[0,{0}]}}}})", bytes);
  const std::filesystem::path file = folder_.path() / "big.safetensors";
  const std::uint64_t header_bytes = header.size();
  std::ofstream(file, std::ios::binary)
      .write(reinterpret_cast<const char*>(&header_bytes), 8)
      .write(header.data(), static_cast<std::streamsize>(header.size()));
  std::filesystem::resize_file(file, 8 + header_bytes + bytes);
  {
    Request request = everything();
    request.devices = {cuda(0), host()};
    Engine engine(small_slabs());
    try {
      engine.start(make_plan(Checkpoint::open(file.string()), request, small_slabs())).wait();
      FAIL() << "it was loaded";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
      EXPECT_THAT(error.what(), testing::HasSubstr("bytes on host"));
    }
    EXPECT_EQ(sim::counters().calls["cuMemAlloc"] + sim::counters().calls["cuMemCreate"], 0u);
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
    expect_delivered(load, halves, f16);
    EXPECT_EQ(load.statistics().extents, 1u);
    const std::uint64_t tables_and_alignment = 2 * 4096;
    EXPECT_LE(sim::counters().bytes_in, halves.size() * (4 << 16) + tables_and_alignment);
  }
  expect_clean();
}

TEST_F(CudaDeviceTest, ArenasLieAtBlocksAndAreReadBackFromAnyByte) {
  std::vector<TestTensor> large = {{"large", Dtype::u8, {(5 << 20) + 3}}};
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

bool tells_of_pinning(const Load& load) {
  const std::vector<Fallback> fallbacks = load.statistics().fallbacks;
  return std::any_of(fallbacks.begin(), fallbacks.end(),
                     [](const Fallback& fallback) { return fallback.what == "pinned slabs"; });
}

TEST_F(CudaDeviceTest, TellsThatPinningWasRefusedWhereTheRingBreaks) {
  if (!sim::is_simulated()) GTEST_SKIP() << "only the simulator fails when told to";
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // CUDA does not survive a fork
  EXPECT_EXIT(({
                sim::fail_call("cuMemHostRegister", 1, cu::Result::not_permitted);
                EngineHere engine(small_slabs());
                expect_right(engine.run(plan_of(two_gpus())), plan_of(two_gpus()));
                refuse_calls({SYS_io_uring_enter}, EPERM);
                const Load load = engine.run(plan_of(two_gpus()));
                try {
                  load.wait();
                } catch (const Error& error) {
                  std::_Exit(error.code() == ErrorCode::system && tells_of_pinning(load) ? 0 : 1);
                }
                std::_Exit(2);
              }),
              testing::ExitedWithCode(0), "");
}

TEST_F(CudaDeviceTest, TellsWhichArenasAreNotMapped) {
  sim::Settings settings;
  settings.devices.at(1).virtual_memory = false;
  sim::reset(settings);
  {
    Engine engine(small_slabs());
    const Plan plan = plan_of(two_gpus());
    const Load load = engine.start(plan);
    expect_right(load, plan);
    std::vector<std::string> told;
    for (const Fallback& fallback : load.statistics().fallbacks) {
      if (fallback.what == "mapped arena") told.push_back(fallback.reason);
    }
    EXPECT_THAT(told, testing::ElementsAre(testing::StartsWith("cuda:1: ")));
  }
  expect_clean();
}

TEST_F(CudaDeviceTest, UsesMemoryOfTheDriversWhereItPinsNoOther) {
  {
    Engine engine(small_slabs());
    sim::fail_call("cuMemHostRegister", 1, cu::Result::not_permitted);
    const Plan plan = plan_of(two_gpus());
    const Load load = engine.start(plan);
    expect_right(load, plan);
    const std::vector<Fallback> fallbacks = load.statistics().fallbacks;
    const auto told = std::find_if(fallbacks.begin(), fallbacks.end(),
                                   [](const Fallback& fallback) { return fallback.what == "pinned slabs"; });
    ASSERT_NE(told, fallbacks.end());
    EXPECT_THAT(told->reason, testing::HasSubstr("cuMemHostRegister"));
    load_right(engine, two_gpus());
    EXPECT_EQ(sim::counters().calls["cuMemHostRegister"], 1u) << "what was refused is not asked for again";
  }
  expect_clean();
}

TEST_F(CudaDeviceTest, StartsUpBeforeTheFirstLoadWherePrepared) {
  {
    Engine engine(small_slabs());
    engine.prepare(two_gpus());
    engine.prepare({cuda(7), host()});  // what is wrong here is told by the load that asks for it
    load_right(engine, two_gpus());
    EXPECT_THROW(engine.start(plan_of({cuda(7)})).wait(), Error);
    load_right(engine, two_gpus());
    EXPECT_EQ(sim::counters().calls["cuDevicePrimaryCtxRetain"], 2u);
  }
  expect_clean();
}

TEST_F(CudaDeviceTest, AStreamWaitsForATensorThatTheHostHasNotSeenArrive) {
  for (std::uint64_t seed = 1; seed <= orders(); ++seed) {
    SCOPED_TRACE(seed);
    sim::reset(in_order_of(seed));
    {
      const Context context(last_gpu().ordinal);
      Engine engine(small_slabs());
      const Load load = engine.start(plan_of(two_gpus()));
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
    const Load load = engine.start(plan_of({host()}));
    EXPECT_EQ(load.find("embed"), &load.wait_on(nullptr, "embed"));
  }
  expect_clean();
}

// Those of 12.2 and newer refuse the other code when it is launched; the table of calls is of the first driver.
TEST_F(CudaDeviceTest, OldDriversGetTheSameCodeAsOldPtx) {
  driver();
  for (const int version : {11000, 11040, 12010, 12040}) {
    SCOPED_TRACE(version);
    sim::Settings settings;
    settings.driver_version = version;
    sim::reset(settings);
    {
      Engine engine(small_slabs());
      load_right(engine, two_gpus());
    }
    expect_clean();
  }
}

}  // namespace
}  // namespace sluice
