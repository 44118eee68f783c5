// Goal: slices reach GPUs as they reach the host, whatever the driver's order of doing things; each link carries what
// its device keeps.
// Method: random requests on the simulated driver against a reference that works element by element; thousands by hand:
// SLUICE_SEEDS=5000 build/release/tests/cuda_test --gtest_filter='GpuSlices.*'. Then worked examples, whose calls and
// bytes are counted.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>

#include "cuda/context.hpp"
#include "cuda/device_memory.hpp"
#include "loader/plan/access.hpp"
#include "tests/cuda/gpu_callers_memory.hpp"
#include "tests/cuda/gpu_loads.hpp"
#include "tests/loader/support/slice_cases.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice {
namespace {

class GpuSlices : public GpuLoads {
 protected:
  static std::uint64_t cases() {
    const char* const told = std::getenv("SLUICE_SEEDS");
    return told != nullptr ? std::strtoull(told, nullptr, 10) : orders();
  }
  /// One to eight GPUs that do things in an order of the seed's, sometimes with the host beside them.
  static std::vector<DeviceId> reset_for(std::uint64_t seed) {
    if (!sim::is_simulated()) return two_gpus();
    sim::Settings settings = in_order_of(seed);
    settings.devices.resize(1 + seed % 8, settings.devices.front());
    sim::reset(settings);
    std::vector<DeviceId> devices;
    for (std::size_t i = 0; i < settings.devices.size(); ++i) devices.push_back(cuda(static_cast<int>(i)));
    if (seed % 5 == 0) devices.push_back(host());
    return devices;
  }
  /// That the load did what the plan promised, and the links carried it. Nothing else has been copied to a GPU so far.
  static void expect_costs(const Load& load, const Plan& plan) {
    const Stats stats = load.statistics();
    EXPECT_EQ(stats.bytes, plan.costs().read_bytes);
    EXPECT_EQ(stats.delivered_bytes, plan.costs().delivered_bytes);
    EXPECT_EQ(stats.copies, plan.costs().copies);
    EXPECT_EQ(stats.launches, plan.costs().launches);
    if (!sim::is_simulated()) return;
    std::uint64_t promised = 0;
    for (const PlanCosts::OnDevice& on : plan.costs().devices) {
      if (on.device.kind == DeviceId::Kind::cuda) promised += on.link_bytes;
    }
    // Neighbours in memory of the caller's share an entry of the table that counted each of them.
    EXPECT_LE(sim::counters().bytes_in, promised);
    EXPECT_GE(sim::counters().bytes_in + plan.costs().deliveries * table_entry_bytes, promised);
  }
};

TEST_F(GpuSlices, AreWhatAReferenceTakesElementByElement) {
  for (std::uint64_t seed = 1; seed <= cases() && !HasFailure(); ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    const std::vector<DeviceId> devices = reset_for(seed);
    {
      CallersGpuMemory memory;
      SliceCase sliced(seed, devices, memory);
      const TemporaryFolder folder;
      sliced.write_to(folder);
      const Plan plan = make_plan(Checkpoint::open(folder.path()), sliced.request(), small_slabs());
      EXPECT_EQ(check_plan(*Access::data(plan)), "");
      Engine engine(small_slabs());
      const Load load = engine.start(plan);
      load.wait();
      expect_costs(load, plan);
      sliced.expect_right(load);
      if (seed % 2 == 0) {
        const TemporaryFolder other;
        sliced.write_to(other, 1);
        const Plan next = make_plan(Checkpoint::open(other.path()), plan);
        sliced.expect_same_left_out(plan, next);
        EXPECT_EQ(check_plan(*Access::data(next)), "");
        const Load again = engine.start(next, {.arenas = load.arenas(), .after = {}});
        again.wait();
        sliced.expect_right(again, 1);
      }
    }
    expect_clean();
  }
}

// Column-parallel and row-parallel matrices, each device its half.
TEST_F(GpuSlices, CarryOverEachLinkLittleMoreThanItsDeviceKeeps) {
  if (gpus() < 2) GTEST_SKIP() << "there is one GPU";
  const TemporaryFolder folder;
  const std::vector<TestTensor> model = {
      {"q_proj", bf16, {512, 256}}, {"o_proj", bf16, {512, 256}}, {"down_proj", f32, {96, 640}}};
  const std::filesystem::path file = write_shard(folder, "model.safetensors", model, 5);
  Request request;
  request.devices = two_gpus();
  request.add("q_proj").split(0);
  request.add("o_proj").split(1);
  request.add("down_proj").split(1).cast(bf16);
  const Plan plan = make_plan(Checkpoint::open(file), request, small_slabs());
  std::uint64_t kept = 0;  // as it travels, before casts
  for (const TestTensor& tensor : model) kept += tensor.bytes() / 2;
  for (const PlanCosts::OnDevice& on : plan.costs().devices) {
    EXPECT_LE(on.link_bytes, kept + kept / 10) << name(on.device);
    EXPECT_GE(on.link_bytes, kept) << name(on.device);
  }
  EXPECT_LE(plan.costs().launches, plan.costs().extents * 2);
  {
    Engine engine(small_slabs());
    const Load load = engine.start(plan);
    load.wait();
    EXPECT_EQ(load.statistics().copies, plan.costs().copies);
    EXPECT_EQ(load.statistics().launches, plan.costs().launches);
    const std::vector<std::byte> whole = model[1].content();
    for (std::size_t device = 0; device < 2; ++device) {
      const Tensor& got = *load.find("o_proj", two_gpus()[device]);
      EXPECT_EQ(Shape(got.shape.begin(), got.shape.end()), (Shape{512, 128}));
      std::vector<std::byte> bytes(got.bytes);
      load.read_back(got, 0, bytes.data(), bytes.size());
      std::vector<std::byte> want;
      for (std::size_t row = 0; row < 512; ++row) {
        const auto begin = whole.begin() + static_cast<std::ptrdiff_t>(row * 512 + device * 256);
        want.insert(want.end(), begin, begin + 256);
      }
      EXPECT_TRUE(same_bytes(bytes, want));
    }
  }
  expect_clean();
}

// Rows that one copy brings to scratch serve several deliveries only if these want the same ones.
TEST_F(GpuSlices, GatherRowsThatBeginTogetherAndLieApart) {
  const TemporaryFolder folder;
  const TestTensor tensor{"w", f32, {32, 256}};
  const Checkpoint checkpoint = Checkpoint::open(write_shard(folder, "model.safetensors", {tensor}));
  const Slice first = take(0, 0, 8).take(1, 0, 32);                        // 8 rows of 128 bytes, 1024 bytes apart
  for (const Slice& second : {take(0, 0, 8).take(1, 0, 40),                // longer
                              take(0, 0, 9).take(1, 0, 32),                // one more
                              as({16, 512}).take(0, 0, 8).take(1, 0, 32),  // 2048 bytes apart
                              take(0, 8, 8).take(1, 0, 32)}) {             // behind them
    SCOPED_TRACE(text(second));
    Request request;
    for (const Slice& slice : {first, second}) {
      const std::string its_name = fmt::format("d{}", request.destinations().size());
      const Shape counts = indices_taken(slice, tensor.shape).counts();
      request.add("w").cast(bf16).to(request.destination(its_name, counts, bf16, cuda(0)), slice);
    }
    const Plan plan = make_plan(checkpoint, request, small_slabs());
    EXPECT_TRUE(Access::data(plan)->parts[0].gathered);
    Engine engine(small_slabs());
    const Load load = engine.start(plan);
    load.wait();
    const std::vector<std::byte> content = tensor.content();
    for (std::size_t i = 0; i < 2; ++i) {
      std::vector<std::byte> want;
      for (const std::uint64_t element : elements_taken(i == 0 ? first : second, tensor.shape)) {
        want.resize(want.size() + 2);
        cast_elements(f32, &content[element * 4], bf16, &want[want.size() - 2], 1);
      }
      std::vector<std::byte> got(want.size());
      load.read_back(*load.find(fmt::format("d{}", i)), 0, got.data(), got.size());
      EXPECT_TRUE(got == want) << "d" << i;
    }
  }
  expect_clean();
}

// --- memory of the caller's
// -------------------------------------------------------------------------------------------

class GpuMemory : public GpuSlices {
 protected:
  static const std::vector<TestTensor>& model() {
    static const std::vector<TestTensor> tensors = {{"q", bf16, {64, 32}}, {"k", bf16, {16, 32}}, {"norm", f32, {32}}};
    return tensors;
  }
  static std::vector<std::byte> bytes_of(const Load& load, const Tensor& tensor) {
    std::vector<std::byte> bytes(tensor.bytes);
    load.read_back(tensor, 0, bytes.data(), bytes.size());
    return bytes;
  }
  static ErrorCode code_of(Engine& engine, const Plan& plan, const StartOptions& options) {
    try {
      engine.start(plan, options).wait();
    } catch (const Error& error) {
      EXPECT_FALSE(error.hint().empty()) << error.what();
      return error.code();
    }
    ADD_FAILURE() << "it was accepted";
    return {};
  }

  const std::filesystem::path file_ = write_shard(folder_, "memory.safetensors", model(), 7);
  const DeviceId gpu_ = cuda(0);
};

TEST_F(GpuMemory, HoldsDestinationsWithAPitchAndNothingElseIsWritten) {
  {
    const auto context = std::make_shared<const Context>(0);
    const DeviceMemory memory(*context, 96 * 80 + 64);
    const auto data = reinterpret_cast<std::byte*>(memory.pointer());
    Request request;
    Destination& qk = request.destination("qk", {80, 32}, bf16, gpu_).memory(data + 16, 96 * 80).strides({48, 1});
    request.add("q").to(qk, {}, take(0, 0, 64));
    request.add("k").to(qk, {}, take(0, 64, 16));
    const Plan plan = make_plan(Checkpoint::open(file_), request, small_slabs());
    EXPECT_EQ(plan.costs().devices[0].arena_bytes, 0u);
    EXPECT_EQ(plan.costs().devices[0].caller_bytes, 80u * 32 * 2);
    // Guards beside it, and between its rows.
    const std::vector<std::byte> guard(96 * 80 + 64, std::byte{0x5a});
    const auto put = [&] {
      const CurrentContext current(*context);
      const Stream stream(*context);
      context->check(context->driver().cuMemsetD8Async(memory.pointer(), 0x5a, guard.size(), stream.handle()),
                     "memset");
    };
    put();
    Engine engine(small_slabs());
    const Load load = engine.start(plan);
    load.wait();
    std::vector<std::byte> want = model()[0].content();
    const std::vector<std::byte> k = model()[1].content();
    want.insert(want.end(), k.begin(), k.end());
    EXPECT_TRUE(bytes_of(load, *load.find("qk")) == want);
    std::vector<std::byte> all(guard.size());
    {
      const CurrentContext current(*context);
      context->check(context->driver().cuMemcpyDtoH(all.data(), memory.pointer(), all.size()), "cuMemcpyDtoH");
    }
    for (std::size_t row = 0; row < 80; ++row) {
      std::fill_n(all.begin() + static_cast<std::ptrdiff_t>(16 + row * 96), 64, std::byte{0x5a});
    }
    EXPECT_TRUE(all == guard);
  }
  expect_clean();
}

TEST_F(GpuMemory, IsReloadedInPlaceBehindTheCallersStream) {
  {
    const Plan plan = [&] {
      Request request;
      request.devices = {gpu_};
      request.add("q").take(part(1, 1, 2)).group({1});
      request.add("*").cast(f32);
      return make_plan(Checkpoint::open(file_), request, small_slabs());
    }();
    // The same names and shapes elsewhere: tensors in another order.
    std::vector<TestTensor> turned(model().rbegin(), model().rend());
    const std::filesystem::path other = write_shard(folder_, "other.safetensors", turned, 3);
    const Plan next = make_plan(Checkpoint::open(other), plan);
    EXPECT_EQ(check_plan(*Access::data(next)), "");
    Engine engine(small_slabs());
    const Load first = engine.start(plan);
    first.wait();
    const std::vector<Memory> arenas = first.arenas();
    ASSERT_EQ(arenas.size(), 1u);
    const auto context = std::make_shared<const Context>(0);
    std::unique_ptr<Stream> stream;
    {
      const CurrentContext current(*context);
      stream = std::make_unique<Stream>(*context);
    }
    for (int round = 0; round < 3; ++round) {
      const Load again = engine.start(next, {.arenas = arenas, .after = {{gpu_, stream->handle()}}});
      again.wait_on(stream->handle(), Group{1}, gpu_);
      again.wait();
      for (const Tensor& tensor : plan.tensors()) {
        EXPECT_EQ(again.find(tensor.name)->data, first.find(tensor.name)->data);
        EXPECT_TRUE(bytes_of(again, *again.find(tensor.name)) == bytes_of(first, *first.find(tensor.name)));
      }
    }
    const CurrentContext current(*context);
    stream.reset();
  }
  expect_clean();
}

// One wrong address, on any device, and nothing of what is right has been touched: not even what would become zero.
TEST_F(GpuMemory, IsNotTouchedWhereSomeOfItIsRefused) {
  if (gpus() < 2) GTEST_SKIP() << "there is one GPU";
  alignas(4096) static std::byte on_host[1 << 16];
  for (std::uint64_t seed = 1; seed <= orders() / 10 + 1; ++seed) {
    SCOPED_TRACE(seed);
    sim::reset(in_order_of(seed));
    {
      CallersGpuMemory memory;
      Request request;
      std::vector<std::byte*> right;
      for (const DeviceId device : {host(), cuda(0)}) {
        right.push_back(memory.allocate(device, 4096));
        memory.fill(device, right.back(), std::byte{0x5a}, 4096);
        Destination& half = request.destination("half", {64}, f32, device).zero().memory(right.back(), 256);
        request.add("norm").to(half, {}, take(0, 0, 32));
      }
      const bool arena = seed % 2 == 0;
      Destination& wrong = request.destination("wrong", {32}, f32, cuda(1));
      if (!arena) wrong.memory(seed % 4 == 1 ? on_host : right[1], 128);
      request.add("norm").to(wrong);
      const Plan plan = make_plan(Checkpoint::open(file_), request, small_slabs());
      StartOptions options;
      if (arena) options.arenas = {{cuda(1), seed % 4 == 0 ? on_host : right[1], 1 << 12}};
      Engine engine(small_slabs());
      const Load load = engine.start(plan, options);
      try {
        load.wait();
        ADD_FAILURE() << "it was accepted";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
        EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr(arena ? "the arena" : "\"wrong\""),
                                                 testing::HasSubstr("cuda:1"), testing::HasSubstr("bytes at 0x")));
      }
      EXPECT_EQ(load.statistics().bytes, 0u) << "nothing was read";
      EXPECT_EQ(memory.read(host(), right[0], 4096), std::vector<std::byte>(4096, std::byte{0x5a}));
      EXPECT_EQ(memory.read(cuda(0), right[1], 4096), std::vector<std::byte>(4096, std::byte{0x5a}));
    }
    expect_clean();
    if (HasFailure()) return;
  }
}

TEST_F(GpuMemory, IsRefusedWhereItIsNotTheDevices) {
  {
    Engine engine(small_slabs());
    alignas(4096) static std::byte on_host[1 << 16];
    Request request;
    request.add("norm").to(request.destination("d", {32}, f32, gpu_).memory(on_host, 128));
    const Plan into = make_plan(Checkpoint::open(file_), request, small_slabs());
    EXPECT_EQ(code_of(engine, into, {}), ErrorCode::invalid_argument);
    Request plain;
    plain.devices = {gpu_};
    plain.add("*");
    const Plan plan = make_plan(Checkpoint::open(file_), plain, small_slabs());
    EXPECT_EQ(code_of(engine, plan, {.arenas = {{gpu_, on_host, sizeof on_host}}, .after = {}}),
              ErrorCode::invalid_argument);
    engine.start(plan).wait();
    if (gpus() < 2) GTEST_SKIP() << "there is one GPU";
    const auto other = std::make_shared<const Context>(1);
    const CurrentContext current(*other);
    const Stream stream(*other);
    EXPECT_EQ(code_of(engine, plan, {.arenas = {}, .after = {{gpu_, stream.handle()}}}), ErrorCode::invalid_argument);
  }
  expect_clean();
}

}  // namespace
}  // namespace sluice
