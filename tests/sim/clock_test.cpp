// Goal: with a clock, work takes the time that links and engines need, in the order of their queues, and ends when the
// clock says.
// Method: a stepped clock and round numbers: 1 byte a nanosecond, 100 ns of latency. For the wall clock only that work
// ends.
#include <thread>

#include "tests/sim/scene.hpp"

namespace sluice::sim {
namespace {

Settings stepped() {
  Settings settings;
  settings.clock = Clock::stepped;
  for (DeviceSettings& device : settings.devices) {
    device.link_bytes_per_second = 1e9;
    device.link_latency = 100;
    device.kernel_bytes_per_second = 1e9;
    device.kernel_latency = 10;
  }
  return settings;
}

class ClockTest : public testing::Test {
 protected:
  ClockTest() : scene(stepped()), target(scene.allocate(10 * size)), slab(scene.pin(10 * size)) {}
  ~ClockTest() override {
    while (next_completion()) advance_to(*next_completion());
    scene.close();
    EXPECT_THAT(take_violations(), testing::IsEmpty());
  }

  Scene scene;
  cu::DevicePointer target;
  std::byte* slab;
};

TEST_F(ClockTest, CopiesTakeLatencyAndBytesOverBandwidth) {
  const auto stream = scene.stream();
  EXPECT_EQ(next_completion(), std::nullopt);
  advance_to(50);
  scene.copy_in(target, slab, size, stream);
  EXPECT_EQ(next_completion(), 50u + 100 + size);
  advance_to(1149);
  EXPECT_EQ(cu::cuStreamQuery(stream), cu::Result::not_ready);
  EXPECT_EQ(counters().copies_in, 0u) << "sources are read late";
  advance_to(1150);
  EXPECT_EQ(cu::cuStreamQuery(stream), cu::Result::success);
  EXPECT_EQ(now(), 1150u);
}

TEST_F(ClockTest, CopiesInOneDirectionShareTheLink) {
  const auto one = scene.stream();
  const auto two = scene.stream();
  scene.copy_in(target, slab, size, one);
  scene.copy_in(target + size, slab, size, two);
  EXPECT_EQ(next_completion(), 1100u);
  advance_to(1100);
  EXPECT_EQ(cu::cuStreamQuery(one), cu::Result::success);
  EXPECT_EQ(cu::cuStreamQuery(two), cu::Result::not_ready);
  EXPECT_EQ(next_completion(), 2200u);
}

TEST(SetUpTime, PassesBeforeEachCopyWhileOtherStreamsHaveTheLink) {
  Settings settings = stepped();
  settings.devices[0].copy_set_up = 300;
  Scene scene(settings);
  const auto target = scene.allocate(4 * size);
  std::byte* const slab = scene.pin(size);
  const auto one = scene.stream();
  for (std::size_t i = 0; i < 2; ++i) scene.copy_in(target + i * size, slab, size, one);
  EXPECT_EQ(next_completion(), 300u + 1100);
  advance_to(1400);
  EXPECT_EQ(next_completion(), 1400u + 300 + 1100) << "the link has a gap";
  advance_to(2800);
  const auto two = scene.stream();
  scene.copy_in(target + 2 * size, slab, size, one);
  scene.copy_in(target + 3 * size, slab, size, two);
  advance_to(4200);
  EXPECT_EQ(next_completion(), 4200u + 1100) << "the other stream has filled it";
  advance_to(5300);
  Scene::synchronize(one);
  Scene::synchronize(two);
  scene.close();
  EXPECT_THAT(take_violations(), testing::IsEmpty());
}

TEST_F(ClockTest, DirectionsAndDevicesDoNot) {
  const auto one = scene.stream();
  scene.copy_in(target, slab, size, one);
  advance_to(1100);
  Scene::synchronize(one);
  const auto back = scene.stream();
  scene.copy_in(target + size, slab, size, one);
  Scene::ok(cu::cuMemcpyDtoHAsync_v2(slab + 5 * size, target, size, back));
  Scene::ok(cu::cuCtxSetCurrent(scene.contexts[1]));
  const auto elsewhere = scene.stream();
  scene.copy_in(scene.allocate(size), slab, size, elsewhere);
  advance_to(2200);
  for (const auto stream : {one, back, elsewhere}) EXPECT_EQ(cu::cuStreamQuery(stream), cu::Result::success);
}

TEST_F(ClockTest, WorkWaitsForItsEvents) {
  const auto one = scene.stream();
  const auto two = scene.stream();
  scene.copy_in(target, slab, size, one);
  scene.join(one, two);
  Scene::ok(cu::cuMemcpyDtoHAsync_v2(slab + size, target, size, two));
  advance_to(2199);
  EXPECT_EQ(cu::cuStreamQuery(two), cu::Result::not_ready);
  advance_to(2200);
  EXPECT_EQ(cu::cuStreamQuery(two), cu::Result::success);
}

TEST_F(ClockTest, WhoWaitsIsReleasedByTheClock) {
  const auto stream = scene.stream();
  const auto first = scene.event();
  const auto second = scene.event();
  scene.copy_in(target, slab, size, stream);
  Scene::ok(cu::cuEventRecord(first, stream));
  scene.copy_in(target, slab, size, stream);
  Scene::ok(cu::cuEventRecord(second, stream));
  std::vector<std::thread> waiters;
  for (const auto event : {first, first, second}) {
    waiters.emplace_back([this, event] {
      Scene::ok(cu::cuCtxSetCurrent(scene.contexts[0]));
      Scene::ok(cu::cuEventSynchronize(event));
    });
  }
  while (blocked_threads() < 3) std::this_thread::yield();
  EXPECT_EQ(advance_to(1099), 0u);
  EXPECT_EQ(advance_to(1100), 2u);
  EXPECT_EQ(blocked_threads(), 1u);
  EXPECT_EQ(advance_to(10'000), 1u);
  for (std::thread& waiter : waiters) waiter.join();
}

TEST_F(ClockTest, EventsTellTheTimeBetweenThem) {
  const auto stream = scene.stream();
  const auto before = scene.event(0);
  const auto after = scene.event(0);
  const auto without_time = scene.event();
  float milliseconds = 0;
  const auto elapsed = [&](cu::Event first, cu::Event last) {
    return cu::cuEventElapsedTime(&milliseconds, first, last);
  };
  advance_to(50);
  Scene::ok(cu::cuEventRecord(before, stream));
  EXPECT_EQ(elapsed(before, after), cu::Result::invalid_handle) << "never recorded";
  scene.copy_in(target, slab, size, stream);
  Scene::ok(cu::cuEventRecord(after, stream));
  Scene::ok(cu::cuEventRecord(without_time, stream));
  EXPECT_EQ(elapsed(before, after), cu::Result::not_ready);
  advance_to(5000);
  EXPECT_EQ(elapsed(before, after), cu::Result::success);
  EXPECT_FLOAT_EQ(milliseconds, 0.0011F);
  EXPECT_EQ(elapsed(before, without_time), cu::Result::invalid_handle);
}

TEST_F(ClockTest, SourcesMustBeAsTheyWereWhenTheyAreRead) {
  const auto stream = scene.stream();
  scene.copy_in(target, slab, size, stream);
  slab[5] = std::byte{2};
  advance_to(1100);
  slab[5] = std::byte{1};  // too late: what was copied is wrong
  Scene::synchronize(stream);
  EXPECT_THAT(rules_of(take_violations()), testing::ElementsAre(Rule::overwritten));
}

TEST_F(ClockTest, GoesForwardOnly) {
  advance_to(100);
  advance_to(50);
  EXPECT_EQ(now(), 100u);
}

TEST(WallClock, EndsWorkByItself) {
  Settings settings;
  settings.clock = Clock::wall;
  Scene scene(settings);
  const auto target = scene.allocate(size);
  const auto one = scene.stream();
  const auto two = scene.stream();
  for (int i = 0; i < 100; ++i) {
    scene.copy_in(target, scene.pin(size), size, one);
    scene.join(one, two);
    scene.join(two, one);
  }
  Scene::synchronize(two);
  while (cu::cuStreamQuery(one) == cu::Result::not_ready) std::this_thread::yield();
  EXPECT_EQ(counters().copies_in, 100u);
  scene.close();
  EXPECT_THAT(take_violations(), testing::IsEmpty());
}

}  // namespace
}  // namespace sluice::sim
