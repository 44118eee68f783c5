// Goal: the null device takes everything, keeps nothing, and counts what CUDA would have done.
#include "loader/device/null_device.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include "loader/base/wakeup.hpp"
#include "loader/plan/access.hpp"
#include "sluice/error.hpp"
#include "tests/loader/support/catalogue_builder.hpp"

namespace sluice {
namespace {

TEST(NullDevice, HasRoomForAnythingAndAnAddressForNothing) {
  NullDevice device;
  EXPECT_EQ(device.id(), null());
  EXPECT_EQ(device.free_bytes(), UINT64_MAX);
  const std::shared_ptr<Arena> arena = device.allocate(std::uint64_t{1} << 60);
  EXPECT_EQ(arena->data(), nullptr);
  arena->populate(0, std::uint64_t{1} << 60);
}

TEST(NullDevice, HasNothingToReadBack) {
  NullDevice device;
  const std::shared_ptr<Arena> arena = device.allocate(100);
  std::byte byte{};
  try {
    arena->read_back(nullptr, &byte, 1);
    FAIL() << "something was read back";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
  }
}

TEST(NullDevice, IsDoneAtOnceWakesNobodyAndCountsWhatThePlanCounted) {
  CatalogueBuilder builder;
  builder.tensor("kept", f32, {1000}).tensor("cast", f32, {1000});
  Request request;
  request.devices = {null()};
  request.add("cast").cast(bf16);
  request.add("*");
  const Plan plan = make_plan(builder.build(), request, {});
  const PlanData& data = *Access::data(plan);
  ASSERT_EQ(data.extents.size(), 1u);

  NullDevice device;
  Wakeup wakeup;
  Tracer tracer(false);
  const Bindings bindings;
  const std::shared_ptr<Arena> arena = device.allocate(data.costs.devices[0].arena_bytes);
  const std::unique_ptr<Lane> lane = device.open_lane({data, bindings, *arena, nullptr, wakeup, tracer});
  lane->deliver({nullptr, &data.extents[0], &data.parts[0], 7});
  pollfd notified{wakeup.fd(), POLLIN, 0};
  EXPECT_EQ(poll(&notified, 1, 0), 0);
  std::vector<LaneDone> done;
  lane->collect(done);
  ASSERT_EQ(done.size(), 1u);
  EXPECT_EQ(done[0].tag, 7u);
  EXPECT_EQ(done[0].copies, data.costs.copies);
  EXPECT_EQ(done[0].launches, data.costs.launches);
  lane->collect(done);
  EXPECT_EQ(done.size(), 1u) << "nothing is handed out twice";
}

}  // namespace
}  // namespace sluice
