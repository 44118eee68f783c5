// Goal: while a driver starts, storage fills staging, and no longer is lost by it than that; what the device then turns
// out to lack ends the load cleanly, before anything is written; lanes copy only out of slabs that are pinned by then.
// Method: whole loads in simulated time onto a device that takes its time to open, whose lanes are the host's, so that
// every byte can be compared; its pinner keeps a list and can refuse.
#include "loader/engine/opening_devices.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "loader/base/memory.hpp"
#include "loader/device/host_device.hpp"
#include "loader/engine/load_run.hpp"
#include "loader/plan/access.hpp"
#include "tests/loader/support/simulated_reader.hpp"
#include "tests/loader/support/small_model.hpp"

namespace sluice {
namespace {

constexpr std::int64_t ms_ns = 1'000'000;
constexpr double storage_rate = 1e9;

/// What a driver's device is told to do, and has done.
struct Driver {
  std::int64_t start_up_ns = 0;
  bool refuses_to_open = false;
  std::uint64_t free_bytes = 1ull << 40;
  int pins_allowed = 1000;
  std::uint64_t allocation_bytes_max = 1ull << 40;

  std::mutex mutex;
  int opened = 0;
  int arenas = 0;
  std::map<const std::byte*, std::size_t> pinned;
  int pins = 0;
  Mapping allocated;

  bool is_pinned(const std::byte* slab) {
    const std::lock_guard lock(mutex);
    if (slab >= allocated.data() && slab < allocated.data() + allocated.size()) return true;
    const auto after = pinned.upper_bound(slab);
    return after != pinned.begin() && slab < std::prev(after)->first + std::prev(after)->second;
  }
};

class StrictPinner final : public Pinner {
 public:
  explicit StrictPinner(Driver& driver) : driver_(driver) {}
  int numa_node() const noexcept override { return -1; }
  void pin(std::span<std::byte> memory) override {
    const std::lock_guard lock(driver_.mutex);
    if (++driver_.pins > driver_.pins_allowed) throw Error(ErrorCode::out_of_memory, "no more is pinned");
    EXPECT_TRUE(driver_.pinned.emplace(memory.data(), memory.size()).second);
  }
  void unpin(std::span<std::byte> memory) noexcept override {
    const std::lock_guard lock(driver_.mutex);
    EXPECT_EQ(driver_.pinned.erase(memory.data()), 1u);
  }
  std::span<std::byte> allocate(std::uint64_t bytes) override {
    const std::lock_guard lock(driver_.mutex);
    if (bytes > driver_.allocation_bytes_max) throw Error(ErrorCode::out_of_memory, "no more is allocated");
    driver_.allocated = Mapping(bytes, "a test");
    return {driver_.allocated.data(), bytes};
  }
  void free(std::span<std::byte>) noexcept override { driver_.allocated = {}; }

 private:
  Driver& driver_;
};

class StrictLane final : public Lane {
 public:
  StrictLane(std::unique_ptr<Lane> lane, Driver& driver) : lane_(std::move(lane)), driver_(driver) {}
  void deliver(const LaneWork& work) override {
    EXPECT_TRUE(driver_.is_pinned(work.slab));
    lane_->deliver(work);
  }
  bool order(CUstream_st*, std::uint64_t) override { return false; }
  void collect(std::vector<LaneDone>& done) override { lane_->collect(done); }

 private:
  const std::unique_ptr<Lane> lane_;
  Driver& driver_;
};

class DriversDevice final : public Device {
 public:
  DriversDevice(DeviceId id, Driver& driver, Workers& workers)
      : id_(id), driver_(driver), host_(workers), pinner_(std::make_shared<StrictPinner>(driver)) {}
  DeviceId id() const noexcept override { return id_; }
  std::uint64_t free_bytes() const override { return driver_.free_bytes; }
  bool shares_host_memory() const noexcept override { return false; }
  std::shared_ptr<Arena> allocate(std::uint64_t bytes) override {
    const std::lock_guard lock(driver_.mutex);
    ++driver_.arenas;
    return host_.allocate(bytes);
  }
  std::shared_ptr<Arena> reserve(std::uint64_t bytes) override { return allocate(bytes); }
  void warm_up() noexcept override {}
  void check_memory(const std::byte*, std::uint64_t, std::string_view) const override {}
  std::shared_ptr<Arena> adopt(std::byte* data) override { return host_.adopt(data); }
  std::unique_ptr<Lane> open_lane(const LaneContext& context) override {
    return std::make_unique<StrictLane>(host_.open_lane(context), driver_);
  }
  std::shared_ptr<Pinner> pinner() const override { return pinner_; }

 private:
  const DeviceId id_;
  Driver& driver_;
  HostDevice host_;
  const std::shared_ptr<Pinner> pinner_;
};

/// An engine on the test's thread, in simulated time.
class StartingEngine {
 public:
  explicit StartingEngine(const Options& options) : equipment_(resolve(options), wakeup_) {
    equipment_.use_opener([this](DeviceId id, Workers& workers) -> std::shared_ptr<Device> {
      if (!needs_driver(id)) return open_device(id, workers);
      clock_.sleep(driver.start_up_ns);
      if (driver.refuses_to_open) throw Error(ErrorCode::device_unavailable, "no such device", {}, "have one");
      const std::lock_guard lock(driver.mutex);
      ++driver.opened;
      return std::make_shared<DriversDevice>(id, driver, workers);
    });
    auto reader = std::make_unique<SimulatedReader>(storage_rate, clock_, *wakeup_, [this] { settle(); });
    reader_ = reader.get();
    equipment_.use_reader(std::move(reader));
  }
  /// A driver that starts is let come to its end.
  ~StartingEngine() {
    settle();
    while (const auto next = clock_.next_ns()) {
      clock_.advance_to(*next);
      settle();
    }
  }

  struct Course {
    Load load;
    std::int64_t ns = 0;
  };
  Course run(
      const Plan& plan, const std::function<void(Load&)>& look = [](Load&) {}) {
    const std::int64_t begin = clock_.now_ns();
    const auto state = std::make_shared<LoadState>(plan, memory_for(plan, {}), wakeup_, false);
    Load load = Access::load(state);
    reader_->on_idle([&] { look(load); });
    EXPECT_TRUE(state->begin());
    run_load(*state, equipment_);
    reader_->on_idle([] {});
    EXPECT_TRUE(reader_->is_idle());
    return {std::move(load), clock_.now_ns() - begin};
  }

  void settle() { clock_.settle({&equipment_.workers(), &equipment_.file_asker().workers()}); }

  Driver driver;
  SimulatedReader& reader() const { return *reader_; }
  Equipment& equipment() { return equipment_; }
  const SimulatedClock& clock() const { return clock_; }

 private:
  SimulatedClock clock_;
  const std::shared_ptr<Wakeup> wakeup_ = std::make_shared<Wakeup>();
  SimulatedReader* reader_ = nullptr;
  Equipment equipment_;
};

constexpr std::uint64_t device_slab = 64 << 10;

Options options_with(std::uint64_t slabs, std::uint64_t slab_bytes = device_slab) {
  Options options;
  options.slab_bytes = slab_bytes;
  options.staging_bytes = slabs * slab_bytes;
  options.io = IoMode::buffered;
  options.threads = 3;
  return options;
}

ErrorCode code_of(const Load& load) {
  try {
    load.wait();
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "no error";
  return ErrorCode::invalid_argument;
}

class OpeningDevicesTest : public testing::Test {
 protected:
  Plan plan(const Options& options, std::vector<DeviceId> devices = {cuda(0)}) const {
    Request request = everything();
    request.devices = std::move(devices);
    return make_plan(Checkpoint::open(file_), request, options);
  }
  std::vector<TestTensor> model(std::uint64_t layers) {
    std::vector<TestTensor> tensors;
    for (std::uint64_t i = 0; i < layers; ++i) tensors.push_back({fmt::format("layer {}", i), f32, {25, 999}});
    file_ = write_shard(folder_, "model.safetensors", tensors, 3);
    return tensors;
  }

  const TemporaryFolder folder_;
  std::filesystem::path file_;
};

struct Start {
  std::int64_t start_up_ns = 0;
  std::uint64_t slabs = 0;
  std::uint64_t budget_bytes = 0;
};

class StartUpTime : public OpeningDevicesTest, public testing::WithParamInterface<Start> {};

TEST_P(StartUpTime, IsHiddenBehindWhatFitsIntoStaging) {
  const auto [start_up_ns, slabs, budget_bytes] = GetParam();
  const std::vector<TestTensor> tensors = model(100);
  const Options options = options_with(slabs);
  Request request = everything();
  request.devices = {cuda(0), cuda(1)};
  request.budget_bytes = budget_bytes;
  const Plan plan = make_plan(Checkpoint::open(file_), request, options);
  StartingEngine engine(options);
  engine.driver.start_up_ns = start_up_ns;

  const auto [load, ns] = engine.run(plan);
  expect_delivered(load, tensors);
  const std::uint64_t bytes = plan.costs().read_bytes;
  const std::uint64_t fits = std::min(bytes, slabs * (bytes / plan.costs().extents));
  const auto filling = static_cast<double>(std::max(start_up_ns, ns_for(fits, storage_rate)));
  const auto rest = static_cast<double>(ns_for(bytes - fits, storage_rate));
  EXPECT_LE(static_cast<double>(ns), 1.05 * filling + rest);
  EXPECT_GE(ns, std::max(start_up_ns, ns_for(bytes, storage_rate) * 99 / 100)) << "the model is wrong";
  EXPECT_LE(load.statistics().peak_staging_bytes, plan.costs().staging_bytes);

  // What has started up stays so.
  EXPECT_LE(engine.run(plan).ns, ns_for(bytes, storage_rate) * 101 / 100);
  EXPECT_EQ(engine.driver.opened, 2);
}

INSTANTIATE_TEST_SUITE_P(OpeningDevices, StartUpTime,
                         testing::Values(Start{0, 8}, Start{1 * ms_ns, 8}, Start{300 * ms_ns, 8}, Start{5 * ms_ns, 64},
                                         Start{300 * ms_ns, 64}, Start{5 * ms_ns, 1000}, Start{300 * ms_ns, 1000},
                                         Start{300 * ms_ns, 8, 16 << 20}, Start{5 * ms_ns, 64, 16 << 20},
                                         Start{300 * ms_ns, 1000, 16 << 20}),
                         [](const auto& given) {
                           const Start& start = given.param;
                           return fmt::format("{}ms_{}slabs{}", start.start_up_ns / ms_ns, start.slabs,
                                              start.budget_bytes == 0 ? "" : "_budget");
                         });

TEST_F(OpeningDevicesTest, WhatADeviceLacksEndsTheLoadBeforeAnythingIsAllocated) {
  const std::vector<TestTensor> tensors = model(20);
  const Options options = options_with(8);
  const Plan plan = this->plan(options, {cuda(0), cuda(1)});
  StartingEngine engine(options);
  engine.driver.start_up_ns = 10 * ms_ns;
  engine.driver.free_bytes = plan.costs().devices[0].arena_bytes - 1;
  const auto [load, ns] = engine.run(plan);
  EXPECT_EQ(code_of(load), ErrorCode::out_of_memory);
  EXPECT_EQ(load.find(tensors[0].name), nullptr);
  EXPECT_GE(ns, 10 * ms_ns);
  EXPECT_EQ(engine.driver.arenas, 0);
  EXPECT_EQ(engine.reader().submitted(), 8u) << "staging was filled meanwhile, and no more";

  engine.driver.free_bytes = 1ull << 40;
  expect_delivered(engine.run(plan).load, tensors);
  EXPECT_EQ(engine.driver.opened, 2) << "each once";
}

TEST_F(OpeningDevicesTest, ADeviceThatCannotBeOpenedEndsTheLoadAndTheNextTriesAgain) {
  const std::vector<TestTensor> tensors = model(20);
  const Options options = options_with(8);
  const Plan plan = this->plan(options);
  StartingEngine engine(options);
  engine.driver.start_up_ns = 10 * ms_ns;
  engine.driver.refuses_to_open = true;
  EXPECT_EQ(code_of(engine.run(plan).load), ErrorCode::device_unavailable);
  EXPECT_EQ(engine.driver.pins, 0);
  engine.driver.refuses_to_open = false;
  expect_delivered(engine.run(plan).load, tensors);
}

TEST_F(OpeningDevicesTest, ALoadThatIsCancelledDoesNotWaitForTheDriver) {
  const std::vector<TestTensor> tensors = model(20);
  const Options options = options_with(8);
  const Plan plan = this->plan(options);
  StartingEngine engine(options);
  engine.driver.start_up_ns = 300 * ms_ns;
  bool cancelled = false;
  const auto [load, ns] = engine.run(plan, [&](Load& running) {
    if (engine.clock().now_ns() < ns_for(3 * device_slab, storage_rate) || std::exchange(cancelled, true)) return;
    running.cancel();
  });
  EXPECT_EQ(code_of(load), ErrorCode::cancelled);
  EXPECT_LE(ns, ns_for(9 * device_slab, storage_rate)) << "what is in flight comes to its end";

  // Other loads of the engine's find slabs that nobody has pinned yet.
  expect_delivered(engine.run(this->plan(options, {host()})).load, tensors);
  EXPECT_LT(engine.clock().now_ns(), 300 * ms_ns);
  expect_delivered(engine.run(plan).load, tensors);
  EXPECT_EQ(engine.driver.opened, 1) << "it went on starting";
}

TEST_F(OpeningDevicesTest, WhatTheHostLacksIsToldBeforeTheFirstRead) {
  const std::uint64_t bytes = available_memory_bytes() / 2 * 3;
  const std::string header = fmt::format(
      R"({{"small":{{"dtype":"U8","shape":[9],"data_offsets":[0,9]}},"huge":{{"dtype":"U8","shape":[{}],"data_offsets":[9,{}]}}}})",
      bytes, 9 + bytes);
  const std::uint64_t length = header.size();
  std::vector<std::byte> content(8 + length);
  std::memcpy(content.data(), &length, sizeof length);
  std::memcpy(content.data() + 8, header.data(), length);
  const auto path = folder_.write("huge.safetensors", content);
  std::error_code refused;
  std::filesystem::resize_file(path, content.size() + 9 + bytes, refused);
  if (refused) GTEST_SKIP() << "the file system has no such sparse files: " << refused.message();
  Request request;
  request.add("small").on(cuda(0));
  request.add("huge").on(host());
  Options options;
  options.threads = 3;
  const Plan plan = make_plan(Checkpoint::open(path), request, options);
  StartingEngine engine(options);
  engine.driver.start_up_ns = 300 * ms_ns;
  const auto [load, ns] = engine.run(plan);
  EXPECT_EQ(code_of(load), ErrorCode::out_of_memory);
  EXPECT_EQ(ns, 0);
  EXPECT_EQ(engine.reader().submitted(), 0u);
}

TEST_F(OpeningDevicesTest, WherePinningIsRefusedWhatWasReadIsReadAgainIntoMemoryOfTheDrivers) {
  const std::vector<TestTensor> tensors = model(20);
  const Options options = options_with(8);
  const Plan plan = this->plan(options);
  StartingEngine engine(options);
  engine.driver.start_up_ns = 1 * ms_ns;  // most are read by then, and one is in flight
  engine.driver.pins_allowed = 0;
  engine.driver.allocation_bytes_max = 3 * device_slab;
  const Load load = engine.run(plan).load;
  expect_delivered(load, tensors);
  EXPECT_EQ(load.statistics().bytes, plan.costs().read_bytes);
  EXPECT_EQ(engine.driver.allocated.size(), 2 * device_slab);
  EXPECT_GT(engine.reader().submitted(), plan.costs().extents);
  ASSERT_EQ(load.statistics().fallbacks.size(), 1u);
  EXPECT_EQ(load.statistics().fallbacks[0].what, "pinned slabs");
  expect_delivered(engine.run(plan).load, tensors);
  EXPECT_EQ(engine.driver.pins, 1) << "what was refused is not asked for again";
}

TEST_F(OpeningDevicesTest, WhereNotOneSlabCanBePinnedTheLoadEndsAndTheNextTriesAgain) {
  const std::vector<TestTensor> tensors = model(20);
  const Options options = options_with(8);
  const Plan plan = this->plan(options);
  StartingEngine engine(options);
  engine.driver.start_up_ns = 1 * ms_ns;
  engine.driver.pins_allowed = 0;
  engine.driver.allocation_bytes_max = 0;
  EXPECT_EQ(code_of(engine.run(plan).load), ErrorCode::out_of_memory);
  engine.driver.pins_allowed = 1000;
  expect_delivered(engine.run(plan).load, tensors);
}

// Two chunks of slabs, of which the second is not pinned. Small shards take a large slab each.
TEST_F(OpeningDevicesTest, WhatWasReadIntoSlabsThatAreNeverPinnedIsReadAgain) {
  std::vector<TestTensor> tensors;
  for (int i = 0; i < 5; ++i) {
    tensors.push_back({fmt::format("tensor {}", i), f32, {777}});
    write_shard(folder_, fmt::format("{}.safetensors", i), {tensors.back()});
  }
  file_ = folder_.path();
  const Options options = options_with(4, 16 << 20);
  const Plan plan = this->plan(options);
  StartingEngine engine(options);
  engine.driver.start_up_ns = 300 * ms_ns;  // all slabs are full by then
  engine.driver.pins_allowed = 1;
  for (int round = 0; round < 2; ++round) {
    const Load load = engine.run(plan).load;
    expect_delivered(load, tensors);
    EXPECT_EQ(load.statistics().bytes, plan.costs().read_bytes);
    EXPECT_THAT(load.statistics().fallbacks[0].reason, testing::HasSubstr("33554432 of 67108864 bytes"));
  }
  EXPECT_EQ(engine.reader().submitted(), 2 * plan.costs().extents + 2);
}

TEST_F(OpeningDevicesTest, SlabsArePinnedAheadWhereALoadIsPreparedFor) {
  model(20);
  const Options options = options_with(8);
  StartingEngine engine(options);
  engine.equipment().prepare(std::vector{cuda(0)}, [] { return false; });
  engine.settle();
  EXPECT_EQ(engine.driver.pins, 1);
  EXPECT_EQ(engine.driver.pinned.begin()->second, 8 * device_slab);
}

TEST_F(OpeningDevicesTest, ALoadDoesNotWaitUntilDevicesArePrepared) {
  const std::vector<TestTensor> tensors = model(20);
  const Options options = options_with(8);
  const Plan plan = this->plan(options);
  StartingEngine engine(options);
  engine.driver.start_up_ns = 10 * ms_ns;
  engine.equipment().prepare(std::vector{cuda(0)}, [] { return true; });
  EXPECT_EQ(engine.driver.opened, 0);
  expect_delivered(engine.run(plan).load, tensors);
  EXPECT_EQ(engine.driver.opened, 1);
}

}  // namespace
}  // namespace sluice
