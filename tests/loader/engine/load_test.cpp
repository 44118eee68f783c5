// What a caller may ask of a Load, and what it answers: order of arrival, names, devices, the ends of things.
#include "sluice/load.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <future>
#include <numeric>
#include <optional>
#include <set>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "cuda/kernel_image.hpp"
#include "loader/engine/load_state.hpp"
#include "loader/plan/access.hpp"
#include "sluice/sluice.hpp"
#include "tests/loader/support/shard_writer.hpp"

namespace sluice {
namespace {

const std::vector<TestTensor> model = {{"a", f32, {64, 64}}, {"b", Dtype::u8, {0}}, {"c", bf16, {3, 5, 7}}};

class LoadTest : public testing::TestWithParam<DeviceId> {
 protected:
  LoadTest() {
    write_shard(folder_, "model.safetensors", model);
    Request request;
    request.add("*").on(GetParam());
    plan_.emplace(make_plan(Checkpoint::open(folder_.path()), request));
  }
  void SetUp() override {
    if (GetParam() == cuda(0) && kernel_fatbinary().empty()) GTEST_SKIP() << "built without nvcc";
  }

  const TemporaryFolder folder_;
  std::optional<Plan> plan_;
  Engine engine_;
};

INSTANTIATE_TEST_SUITE_P(Devices, LoadTest, testing::Values(host(), cuda(0)),
                         [](const auto& device) { return device.param == host() ? "host" : "cuda"; });

TEST_P(LoadTest, IteratesEveryTensorOnceAndAgainFromTheStart) {
  const Load load = engine_.start(*plan_);
  for (int round = 0; round < 2; ++round) {
    std::multiset<std::string_view> names;
    for (const Tensor& tensor : load) names.insert(tensor.name);
    EXPECT_THAT(names, testing::ElementsAre("a", "b", "c"));
  }
}

TEST_P(LoadTest, IteratesFromSeveralThreadsAtATime) {
  const Load load = engine_.start(*plan_);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      std::size_t count = 0;
      for (const Tensor& tensor : load) count += tensor.name.size();
      EXPECT_EQ(count, model.size());
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_P(LoadTest, WaitsForOneTensorByName) {
  const Load load = engine_.start(*plan_);
  const Tensor& tensor = load.wait("c");
  EXPECT_EQ(tensor.bytes, 210u);
  EXPECT_THAT(tensor.shape, testing::ElementsAre(3, 5, 7));
  EXPECT_EQ(load.find("c"), &tensor);
  EXPECT_EQ(&load.wait("c", GetParam()), &tensor);
  EXPECT_EQ(load.find("nothing"), nullptr);
  EXPECT_EQ(load.find("c", null()), nullptr);
}

TEST_P(LoadTest, RefusesToWaitForWhatItDoesNotDeliver) {
  const Load load = engine_.start(*plan_);
  try {
    (void)load.wait("nothing");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::tensor_not_found);
    EXPECT_EQ(error.tensor(), "nothing");
  }
  EXPECT_THROW((void)load.wait("a", null()), Error);
}

TEST_P(LoadTest, GivesTensorsOfNoBytesWithoutAPointer) {
  const Load load = engine_.start(*plan_);
  const Tensor& tensor = load.wait("b");
  EXPECT_EQ(tensor.bytes, 0u);
  EXPECT_EQ(tensor.data, nullptr);
}

TEST_P(LoadTest, ReadsBackPartsAndRefusesWhatLiesOutside) {
  const Load load = engine_.start(*plan_);
  const Tensor& tensor = load.wait("a");
  std::vector<std::byte> part(100);
  load.read_back(tensor, 1000, part.data(), part.size());
  const std::vector<std::byte> content = model[0].content();
  EXPECT_TRUE(std::equal(part.begin(), part.end(), content.begin() + 1000));
  EXPECT_THROW(load.read_back(tensor, tensor.bytes, part.data(), 1), Error);
  EXPECT_THROW(load.read_back(tensor, ~std::uint64_t{0}, part.data(), 2), Error);
}

// The engine's thread lets go of the load while this one reads the error: ThreadSanitizer looks on.
TEST_P(LoadTest, AnErrorOutlivesItsLoad) {
  std::filesystem::resize_file(folder_.path() / "model.safetensors", 1000);
  for (int i = 0; i < 100; ++i) {
    try {
      engine_.start(*plan_).wait();
      FAIL() << "it was loaded";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::file_changed);
      EXPECT_THAT(error.path(), testing::EndsWith("model.safetensors"));
    }
  }
}

TEST_P(LoadTest, MayBeMovedWhileItIsWalked) {
  std::optional<Load> load = engine_.start(*plan_);
  std::optional<Load> elsewhere;
  std::multiset<std::string_view> names;
  for (const Tensor& tensor : *load) {
    names.insert(tensor.name);
    if (elsewhere) continue;
    elsewhere.emplace(std::move(*load));
    load.reset();
  }
  EXPECT_THAT(names, testing::ElementsAre("a", "b", "c"));
}

TEST(EmptyLoad, AnswersEveryQuestionOrRefusesIt) {
  Load moved_from = [] {
    const TemporaryFolder folder;
    write_shard(folder, "model.safetensors", model);
    Request request;
    request.add("*");
    return Engine().start(make_plan(Checkpoint::open(folder.path()), request));
  }();
  EXPECT_TRUE(moved_from);
  const Load target = std::move(moved_from);
  EXPECT_TRUE(target);

  Load made_empty;
  for (Load* load : {&made_empty, &moved_from}) {
    EXPECT_FALSE(*load);
    load->cancel();
    EXPECT_EQ(load->find("a"), nullptr);
    EXPECT_EQ(load->find("a", host()), nullptr);
    EXPECT_TRUE(load->progress().finished);
    EXPECT_EQ(load->progress().tensors_total, 0u);
    EXPECT_EQ(load->statistics().bytes, 0u);
    EXPECT_TRUE(load->trace().spans.empty());
    const std::function<void()> refused[] = {
        [&] { load->wait(); },
        [&] { load->wait("a"); },
        [&] { load->wait("a", host()); },
        [&] { load->wait_on(nullptr, "a"); },
        [&] { load->wait_on(nullptr, "a", host()); },
        [&] { load->arrival(0); },
        [&] { load->begin(); },
        [&] { load->read_back({}, 0, nullptr, 0); },
    };
    for (const auto& ask : refused) {
      EXPECT_THAT(ask, testing::ThrowsMessage<Error>(testing::StartsWith("invalid argument: the Load is empty")));
    }
  }
}

TEST_P(LoadTest, EndsWhatItHeldWhenAssignedTo) {
  Load load = engine_.start(*plan_);
  load = engine_.start(*plan_);
  load.wait();
  EXPECT_NE(load.find("a"), nullptr);
}

class EmptyArena final : public Arena {
 public:
  std::byte* data() const noexcept override { return nullptr; }
  void populate(std::uint64_t, std::uint64_t) noexcept override {}
  void read_back(const void*, void*, std::uint64_t) const override {}
};

/// A lane whose driver takes its time to make a stream wait.
class SlowLane final : public Lane {
 public:
  void deliver(const LaneWork&) override {}
  bool order(CUstream_st*, std::uint64_t) override {
    entered.set_value();
    may_leave.get_future().wait();
    left = true;
    return true;
  }
  void collect(std::vector<LaneDone>&) override {}

  std::promise<void> entered;
  std::promise<void> may_leave;
  std::atomic<bool> left = false;
};

// By hand what the engine does, while a caller is in the lane.
TEST(LoadInALane, PublishesMeanwhileAndClosesTheLaneAfterwards) {
  const TemporaryFolder folder;
  write_shard(folder, "model.safetensors", model);
  Request request;
  request.add("*").on(host());
  const Plan plan = make_plan(Checkpoint::open(folder.path()), request);
  const auto state = std::make_shared<LoadState>(plan, memory_for(plan, {}), std::make_shared<Wakeup>(), false);
  ASSERT_TRUE(state->begin());
  const Load load = Access::load(state);
  std::vector<std::unique_ptr<Lane>> lanes;
  lanes.push_back(std::make_unique<SlowLane>());
  SlowLane& lane = static_cast<SlowLane&>(*lanes[0]);
  state->place({std::make_shared<EmptyArena>()}, lanes);
  using std::chrono::milliseconds;
  for (const milliseconds timeout : {milliseconds(-1), milliseconds(0), milliseconds(1)}) {
    EXPECT_EQ(load.wait_on_for(nullptr, "a", timeout), nullptr) << "nothing is read";
    EXPECT_EQ(load.wait_on_for(nullptr, "a", host(), timeout), nullptr);
    EXPECT_FALSE(load.wait_on_for(nullptr, Group{}, host(), timeout));
  }
  const LoadState::Handed handed[] = {{0, 1}, {1, 1}, {2, 1}};
  state->publish({}, handed, {});

  std::thread caller([&] { EXPECT_EQ(load.wait_on(nullptr, "a").name, "a"); });
  lane.entered.get_future().wait();
  const std::uint32_t all[] = {0, 1, 2};
  state->publish(all, {}, {});
  EXPECT_NE(load.find("a"), nullptr);
  EXPECT_EQ(load.wait_on_for(nullptr, "a", milliseconds(0)), load.find("a"));
  EXPECT_TRUE(load.wait_on_for(nullptr, Group{}, host(), milliseconds(0)));
  std::promise<void> closing;
  std::thread engine([&] {
    closing.set_value();
    state->close_lanes();
    EXPECT_TRUE(lane.left) << "the lane would be destroyed now";
  });
  closing.get_future().wait();
  std::this_thread::yield();
  lane.may_leave.set_value();
  engine.join();
  caller.join();
  state->finish(nullptr, {});
}

}  // namespace
}  // namespace sluice
