// Goal: the host's lanes copy and cast every delivery to its place, on the workers, and let nothing outlive them.
// Method: one extent with two tensors that are copied together and one that is cast.
#include "loader/device/host_device.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <cstring>
#include <latch>

#include "loader/base/memory.hpp"
#include "loader/base/wakeup.hpp"
#include "loader/base/workers.hpp"
#include "loader/device/array_cast.hpp"
#include "loader/plan/access.hpp"
#include "sluice/error.hpp"
#include "tests/loader/support/catalogue_builder.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice {
namespace {

class HostDeviceTest : public testing::Test {
 protected:
  HostDeviceTest() {
    CatalogueBuilder builder;
    builder.shard(4096).tensor("a", Dtype::u8, {3000}).tensor("b", f16, {500}).tensor("c", f32, {2000});
    Request request;
    request.add("c").cast(bf16);
    request.add("*");
    plan_ = Access::data(make_plan(builder.build(), request, {}));
    slab_ = noise(plan_->extents.at(0).bytes);
    arena_ = device_.allocate(plan_->costs.devices[0].arena_bytes);
  }

  LaneWork work(std::uint64_t tag) { return {slab_.data(), &plan_->extents[0], &plan_->parts[0], tag}; }

  std::vector<LaneDone> collect(Lane& lane, std::size_t count) {
    std::vector<LaneDone> done;
    while (done.size() < count) {
      pollfd descriptor{wakeup_.fd(), POLLIN, 0};
      EXPECT_EQ(poll(&descriptor, 1, -1), 1);
      wakeup_.clear();
      lane.collect(done);
    }
    return done;
  }

  // What the arena holds of the placement of that number.
  std::vector<std::byte> delivered(std::size_t index) const {
    const Placement& placement = plan_->placements[index];
    std::vector<std::byte> bytes(placement.bytes);
    arena_->read_back(arena_->data() + placement.arena_offset, bytes.data(), bytes.size());
    return bytes;
  }
  std::vector<std::byte> source(std::size_t index) const {
    const TensorInfo& tensor = plan_->catalogue->tensors[index];
    const auto begin = slab_.begin() + static_cast<std::ptrdiff_t>(tensor.offset - plan_->extents[0].offset);
    return {begin, begin + static_cast<std::ptrdiff_t>(tensor.bytes)};
  }
  void expect_all_delivered() const {
    EXPECT_EQ(delivered(0), source(0));
    EXPECT_EQ(delivered(1), source(1));
    std::vector<std::byte> cast(plan_->placements[2].bytes);
    cast_elements(f32, source(2).data(), bf16, cast.data(), 2000);
    EXPECT_EQ(delivered(2), cast);
  }

  Workers workers_{2};
  HostDevice device_{workers_};
  std::shared_ptr<const PlanData> plan_;
  std::vector<std::byte> slab_;
  const Bindings bindings_;
  std::shared_ptr<Arena> arena_;
  Wakeup wakeup_;
  Tracer tracer_{false};
};

TEST_F(HostDeviceTest, HasFreeMemoryAndHugePageArenas) {
  EXPECT_EQ(device_.id(), host());
  EXPECT_GT(device_.free_bytes(), 0u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(arena_->data()) % huge_page_bytes, 0u);
  EXPECT_EQ(device_.allocate(0)->data(), nullptr);
}

TEST_F(HostDeviceTest, RefusesAnArenaThatNoMachineHas) {
  try {
    device_.allocate(std::uint64_t{1} << 61);
    FAIL() << "it was allocated";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
    EXPECT_THAT(error.what(), testing::HasSubstr("tensors"));
  }
}

TEST_F(HostDeviceTest, CopiesAndCastsEveryDeliveryToItsPlace) {
  const std::unique_ptr<Lane> lane = device_.open_lane({*plan_, bindings_, *arena_, nullptr, wakeup_, tracer_});
  lane->deliver(work(9));
  const std::vector<LaneDone> done = collect(*lane, 1);
  EXPECT_EQ(done[0].tag, 9u);
  expect_all_delivered();
}

TEST_F(HostDeviceTest, CostsWhatThePlanSaid) {
  const std::unique_ptr<Lane> lane = device_.open_lane({*plan_, bindings_, *arena_, nullptr, wakeup_, tracer_});
  lane->deliver(work(0));
  const std::vector<LaneDone> done = collect(*lane, 1);
  EXPECT_EQ(done[0].copies, plan_->costs.copies);
  EXPECT_EQ(done[0].launches, plan_->costs.launches);
  EXPECT_EQ(done[0].copies, 1u) << "neighbours travel together";
  EXPECT_EQ(done[0].launches, 1u);
}

TEST_F(HostDeviceTest, PopulatingAnArenaThatIsBeingFilledHarmsNothing) {
  const std::unique_ptr<Lane> lane = device_.open_lane({*plan_, bindings_, *arena_, nullptr, wakeup_, tracer_});
  lane->deliver(work(0));
  arena_->populate(0, plan_->costs.devices[0].arena_bytes);
  collect(*lane, 1);
  expect_all_delivered();
}

TEST_F(HostDeviceTest, DeliverReturnsWhileTheWorkersAreBusyAndTheLaneWaitsForThemAtTheEnd) {
  // Shared: a worker may still be on its way out of a latch when this test has ended.
  const auto begun = std::make_shared<std::latch>(2);
  const auto release = std::make_shared<std::latch>(1);
  for (int i = 0; i < 2; ++i) {
    workers_.run([begun, release] {
      begun->count_down();
      release->wait();
    });
  }
  begun->wait();
  std::unique_ptr<Lane> lane = device_.open_lane({*plan_, bindings_, *arena_, nullptr, wakeup_, tracer_});
  lane->deliver(work(0));
  std::vector<LaneDone> done;
  lane->collect(done);
  EXPECT_TRUE(done.empty());
  release->count_down();
  lane.reset();
  expect_all_delivered();
}

}  // namespace
}  // namespace sluice
