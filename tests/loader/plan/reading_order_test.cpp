// Goal: a load reads groups in ascending order, and within a group for all devices alike, so that no link waits for
// another's share; extents for the same devices stay in the order of files.
// Method: plans of catalogues whose tensors go to devices one after the other; how much each device has got is looked
// at extent by extent.
#include "loader/plan/reading_order.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "loader/plan/access.hpp"
#include "tests/loader/support/catalogue_builder.hpp"

namespace sluice {
namespace {

constexpr std::uint32_t slab = 1 << 20;

Plan plan_of(const std::shared_ptr<const Catalogue>& catalogue, const Request& request) {
  Options options;
  options.slab_bytes = slab;
  options.staging_bytes = 4 * slab;
  return make_plan(catalogue, request, options);
}

// How far, at the worst, a device's share of a group's bytes was from that of the group while it was read.
double worst_lag(const PlanData& plan, std::uint32_t group) {
  std::vector<double> all(plan.devices.size());
  double group_bytes = 0;
  const auto each = [&](auto&& take) {
    for (const Extent& extent : plan.extents) {
      if (extent.group == group) take(extent);
    }
  };
  each([&](const Extent& extent) {
    group_bytes += extent.bytes;
    for (const Part& part : plan.parts_of(extent)) all[part.device] += static_cast<double>(part.link_bytes);
  });
  std::vector<double> got(plan.devices.size());
  double read = 0;
  double worst = 0;
  each([&](const Extent& extent) {
    read += extent.bytes;
    for (const Part& part : plan.parts_of(extent)) got[part.device] += static_cast<double>(part.link_bytes);
    for (std::size_t i = 0; i < got.size(); ++i) {
      worst = std::max(worst, std::abs(got[i] / all[i] - read / group_bytes) * group_bytes / slab);
    }
  });
  return worst;
}

TEST(ReadingOrder, IsThatOfFilesForOneDevice) {
  CatalogueBuilder builder;
  for (int shard = 0; shard < 2; ++shard) {
    builder.shard();
    for (int i = 0; i < 5; ++i) builder.tensor(fmt::format("{}.{}", shard, i), Dtype::u8, {3 * slab});
  }
  Request request;
  request.devices = {cuda(0)};
  request.add("*");
  const Plan plan = plan_of(builder.build(), request);
  const auto& extents = Access::data(plan)->extents;
  ASSERT_GT(extents.size(), 25u);
  EXPECT_TRUE(std::is_sorted(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
    return std::pair(a.shard, a.offset) < std::pair(b.shard, b.offset);
  }));
}

TEST(ReadingOrder, GivesAllDevicesTheirShareOfAMatrixThatIsSplitByRows) {
  for (const int world : {2, 3, 8}) {
    CatalogueBuilder builder;
    builder.shard();
    for (int i = 0; i < 3; ++i) builder.tensor(fmt::format("{}", i), Dtype::u8, {24, 4 * slab});
    Request request;
    request.devices.clear();
    for (int i = 0; i < world; ++i) request.devices.push_back(cuda(i));
    request.add("*").split(0);
    const Plan plan = plan_of(builder.build(), request);
    EXPECT_EQ(check_plan(*Access::data(plan)), "");
    EXPECT_LE(worst_lag(*Access::data(plan), 0), 2.0 * world) << world << " devices, in slabs";
  }
}

TEST(ReadingOrder, GivesDevicesThatGetDifferentFilesTheirShareInEachGroup) {
  CatalogueBuilder builder;
  Request request;
  for (std::uint32_t device = 0; device < 4; ++device) {
    builder.shard();
    for (std::uint32_t layer = 0; layer < 3; ++layer) {
      const std::string name = fmt::format("{}.{}", device, layer);
      builder.tensor(name, Dtype::u8, {(10 + 5 * device) * slab});
      request.add(name).on(cuda(static_cast<int>(device))).group({layer});
    }
  }
  const Plan plan = plan_of(builder.build(), request);
  const PlanData& data = *Access::data(plan);
  EXPECT_EQ(check_plan(data), "");
  for (std::uint32_t group = 0; group < 3; ++group) EXPECT_LE(worst_lag(data, group), 8.0) << "group " << group;
  EXPECT_TRUE(std::is_sorted(data.extents.begin(), data.extents.end(),
                             [](const Extent& a, const Extent& b) { return a.group < b.group; }));
}

TEST(ReadingOrder, IsCheckedWithThePlan) {
  CatalogueBuilder builder;
  builder.shard();
  builder.tensor("a", Dtype::u8, {8 * slab});
  Request request;
  request.devices = {cuda(0), cuda(1)};
  request.add("*").split(0);
  const Plan plan = plan_of(builder.build(), request);
  PlanData wrong = *Access::data(plan);
  EXPECT_EQ(check_plan(wrong), "");
  std::reverse(wrong.extents.begin(), wrong.extents.end());
  EXPECT_NE(check_plan(wrong), "");
}

}  // namespace
}  // namespace sluice
