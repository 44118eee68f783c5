// Goal: check_plan() finds what is wrong with a plan, so that a planner's mistake does not become a wrong weight.
// Method: a good plan that has everything in it; each test spoils one thing and expects to be told of it. Then random
// spoiling of any one field.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <functional>
#include <string>

#include "loader/base/limits.hpp"
#include "loader/plan/access.hpp"
#include "loader/plan/plan.hpp"
#include "tests/loader/support/catalogue_builder.hpp"

namespace sluice {
namespace {

using testing::HasSubstr;

// In place and staged extents, casts that straddle blocks, two GPUs, two shards, a tensor of no bytes.
PlanData good_plan() {
  CatalogueBuilder builder;
  builder.shard(5000).tensor("large", f32, {512 * 1024}).tensor("small", bf16, {100}).tensor("empty", f32, {0});
  builder.shard(4099).tensor("shared", bf16, {64 * 1024}).tensor("cast", f32, {64 * 1024}).bytes("tail", 77);
  Request request;
  request.add("shared").on({cuda(1), cuda(0), host()});
  request.add("cast").cast(f16).on({cuda(0), host()});
  request.add("*");
  Options options;
  options.slab_bytes = 128 * 1024;
  return *Access::data(make_plan(builder.build(), request, options));
}

std::size_t find_extent(const PlanData& plan, const std::function<bool(const Extent&)>& is_it) {
  for (std::size_t i = 0; i < plan.extents.size(); ++i) {
    if (is_it(plan.extents[i])) return i;
  }
  ADD_FAILURE() << "the plan has no such extent";
  return 0;
}

bool is_in_place(const Extent& extent) {
  return extent.in_place;
}
bool is_staged(const Extent& extent) {
  return !extent.in_place;
}
bool is_unaligned(const Extent& extent) {
  return !extent.aligned;
}

// By extent: the first part of one that is so.
std::size_t find_extent_part(const PlanData& plan, const std::function<bool(const Extent&)>& is_it) {
  return plan.extents[find_extent(plan, is_it)].first_part;
}
// The first of several parts of an extent.
std::size_t find_shared_part(const PlanData& plan) {
  return find_extent_part(plan, [](const Extent& extent) { return extent.part_count > 1; });
}
std::size_t find_scratch_part(const PlanData& plan) {
  const auto part =
      std::find_if(plan.parts.begin(), plan.parts.end(), [](const Part& any) { return any.goes_to_scratch(); });
  EXPECT_NE(part, plan.parts.end());
  return static_cast<std::size_t>(part - plan.parts.begin());
}

std::string spoilt(const std::function<void(PlanData&)>& spoil) {
  PlanData plan = good_plan();
  spoil(plan);
  return check_plan(plan);
}

TEST(CheckPlan, FindsNothingWrongWithAGoodPlanThatHasEverything) {
  const PlanData plan = good_plan();
  EXPECT_EQ(check_plan(plan), "");
  find_extent(plan, is_in_place);
  find_extent(plan, is_staged);
  find_extent(plan, is_unaligned);
  EXPECT_EQ(plan.devices.size(), 3u);
}

TEST(CheckPlan, FindsNothingWrongWithAPlanOfNothing) {
  PlanData plan;
  plan.catalogue = CatalogueBuilder().build();
  plan.slab_bytes = limits::slab_bytes_unit;
  EXPECT_EQ(check_plan(plan), "");
}

TEST(CheckPlan, FindsDevicesThatAreThereTwice) {
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.devices[1] = plan.devices[0]; }), HasSubstr("twice"));
}

TEST(CheckPlan, FindsPlacementsOutOfOrder) {
  EXPECT_THAT(spoilt([](PlanData& plan) { std::swap(plan.placements[0], plan.placements[1]); }), HasSubstr("order"));
}

TEST(CheckPlan, FindsPlacementsOutsideTheirArena) {
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.placements[0].arena_offset += 1ull << 40; }), HasSubstr("arena"));
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.placements[0].arena_offset = ~0ull; }), HasSubstr("arena"));
}

TEST(CheckPlan, FindsPlacementsOfTheWrongSize) {
  EXPECT_THAT(spoilt([](PlanData& plan) { --plan.placements[0].bytes; }), HasSubstr("bytes"));
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.placements[0].dtype = bf16; }), HasSubstr("bytes"));
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.placements[0].dtype = Dtype::i32; }), HasSubstr("no cast"));
}

TEST(CheckPlan, FindsBrokenPromisesOfAlignment) {
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.alignment_bytes = 4096; }), HasSubstr("aligned to 4096"));
}

TEST(CheckPlan, FindsPlacementsThatOverlap) {
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.placements[1].arena_offset = plan.placements[0].arena_offset + 256; }),
              HasSubstr("overlap"));
}

TEST(CheckPlan, FindsExtentsThatOverlapOrAreOutOfOrder) {
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.extents[1].offset -= 4096; }), HasSubstr("shares bytes"));
  EXPECT_THAT(spoilt([](PlanData& plan) { std::swap(plan.extents[0], plan.extents[1]); }), HasSubstr("not behind"));
}

TEST(CheckPlan, FindsExtentsThatASlabOrTheirShardCannotHold) {
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.slab_bytes = limits::slab_bytes_unit; }), HasSubstr("in slabs of"));
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.extents.back().bytes += 1; }), HasSubstr("outside its shard"));
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.extents.back().shard = 9; }), HasSubstr("no shard"));
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.extents.back().bytes = 0; }), HasSubstr("0 bytes"));
}

TEST(CheckPlan, FindsExtentsThatLieAboutTheirAlignment) {
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.extents[find_extent(plan, is_unaligned)].aligned = true; }),
              HasSubstr("aligned"));
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.extents[0].aligned = false; }), HasSubstr("aligned"));
}

TEST(CheckPlan, FindsCutsThatNeedNotBeUnaligned) {
  EXPECT_THAT(spoilt([](PlanData& plan) {
                Extent& extent = plan.extents[find_extent(plan, is_staged)];
                extent.bytes -= 8;
                extent.aligned = false;
              }),
              HasSubstr("ends unaligned"));
}

TEST(CheckPlan, FindsReadsInPlaceThatAreNone) {
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.extents[find_extent(plan, is_staged)].in_place = true; }),
              HasSubstr("no identity"));
}

BigVector<Extent>::iterator last_in_file(PlanData& plan) {
  return std::max_element(plan.extents.begin(), plan.extents.end(), [](const Extent& a, const Extent& b) {
    return std::pair(a.shard, a.offset) < std::pair(b.shard, b.offset);
  });
}

TEST(CheckPlan, FindsDeliveriesThatNoExtentHas) {
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.deliveries.push_back(plan.deliveries.back()); }),
              HasSubstr("of no extent"));
  EXPECT_THAT(spoilt([](PlanData& plan) { ++plan.parts[1].first_delivery; }), HasSubstr("do not follow"));
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.extents.erase(last_in_file(plan)); }), HasSubstr("of no extent"));
}

TEST(CheckPlan, FindsPartsThatNoExtentHas) {
  EXPECT_THAT(spoilt([](PlanData& plan) { ++plan.extents[1].first_part; }), HasSubstr("do not follow"));
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.extents[0].part_count = 0; }), HasSubstr("do not follow"));
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.parts.push_back(plan.parts.back()); }), HasSubstr("parts of no extent"));
}

TEST(CheckPlan, FindsPartsOfTheWrongDevice) {
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.parts.back().device = 200; }), HasSubstr("no device"));
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.parts[find_shared_part(plan)].device = 2; }),
              HasSubstr("order of devices"));
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.parts[0].device = 1; }), HasSubstr("another device"));
}

TEST(CheckPlan, FindsPartsThatDoNotSayWhatTheyTake) {
  EXPECT_THAT(spoilt([](PlanData& plan) { ++plan.parts.back().copies; }), HasSubstr("copies or launches"));
  EXPECT_THAT(spoilt([](PlanData& plan) { ++plan.parts.back().launches; }), HasSubstr("copies or launches"));
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.parts[find_extent_part(plan, is_in_place)].copies = 1; }),
              HasSubstr("read in place"));
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.parts[find_scratch_part(plan)].scratch_begin += 16; }),
              HasSubstr("scratch begins"));
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.parts[find_scratch_part(plan)].scratch_end += 16; }),
              HasSubstr("scratch ends"));
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.parts[find_scratch_part(plan)].table_begin += 16; }),
              HasSubstr("table begins"));
}

TEST(CheckPlan, FindsDeliveriesThatReachTooFar) {
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.deliveries.back().run_bytes += 4096; }), HasSubstr("out of its extent"));
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.deliveries.back().rows = 4'000'000'000; }),
              HasSubstr("out of its extent"));
}

TEST(CheckPlan, FindsBytesThatGoToTheWrongPlace) {
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.deliveries[0].target_offset += 4; }), HasSubstr("belong"));
}

TEST(CheckPlan, FindsBytesOfTheWrongPlace) {
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.deliveries[0].source_offset -= 4; }), HasSubstr("next part"));
}

TEST(CheckPlan, FindsBytesThatAreNotDelivered) {
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.deliveries.back().run_bytes -= 1; }), HasSubstr("are delivered"));
}

TEST(CheckPlan, FindsElementsThatAreSplit) {
  EXPECT_THAT(spoilt([](PlanData& plan) {
                for (Delivery& delivery : plan.deliveries) {
                  if (!plan.is_cast(delivery)) continue;
                  delivery.run_bytes -= 1;
                  return;
                }
              }),
              HasSubstr("splits"));
}

TEST(CheckPlan, FindsDeliveriesOfAnotherDtypeThanTheirTensors) {
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.deliveries[0].source_dtype = bf16; }), HasSubstr("of another dtype"));
}

TEST(CheckPlan, FindsTensorsThatWouldBePublishedTooEarlyOrNever) {
  EXPECT_THAT(spoilt([](PlanData& plan) { --plan.placements[0].deliveries; }), HasSubstr("deliveries, not"));
  EXPECT_THAT(spoilt([](PlanData& plan) { ++plan.placements[0].deliveries; }), HasSubstr("deliveries, not"));
}

TEST(CheckPlan, FindsCostsThatAreNotWhatThePlanTakes) {
  EXPECT_THAT(spoilt([](PlanData& plan) { ++plan.costs.read_bytes; }), HasSubstr("read_bytes"));
  EXPECT_THAT(spoilt([](PlanData& plan) { ++plan.costs.delivered_bytes; }), HasSubstr("delivered_bytes"));
  EXPECT_THAT(spoilt([](PlanData& plan) { ++plan.costs.extents; }), HasSubstr("extents"));
  EXPECT_THAT(spoilt([](PlanData& plan) { ++plan.costs.in_place_extents; }), HasSubstr("in_place_extents"));
  EXPECT_THAT(spoilt([](PlanData& plan) { ++plan.costs.deliveries; }), HasSubstr("deliveries"));
  EXPECT_THAT(spoilt([](PlanData& plan) { ++plan.costs.copies; }), HasSubstr("copies"));
  EXPECT_THAT(spoilt([](PlanData& plan) { ++plan.costs.launches; }), HasSubstr("launches"));
  EXPECT_THAT(spoilt([](PlanData& plan) { plan.costs.staging_bytes = 0; }), HasSubstr("staging_bytes"));
  EXPECT_THAT(spoilt([](PlanData& plan) { ++plan.costs.devices[0].tensors; }), HasSubstr("tensors"));
  EXPECT_THAT(spoilt([](PlanData& plan) { ++plan.costs.devices[0].arena_bytes; }), HasSubstr("arena_bytes"));
  EXPECT_THAT(spoilt([](PlanData& plan) { ++plan.costs.devices[0].scratch_bytes; }), HasSubstr("scratch_bytes"));
}

// Fields that decide where bytes go: none may change unnoticed, whatever it becomes. Strides are not among them: those
// of a single row are never read.
RC_GTEST_PROP(CheckPlan, NoticesAnyChangeOfWhereBytesComeFromOrGoTo, ()) {
  PlanData plan = good_plan();
  const auto below = [](std::size_t bound) { return *rc::gen::inRange<std::size_t>(0, bound); };
  const auto change = [](auto& field) {
    field ^= static_cast<std::decay_t<decltype(field)>>(1ull << *rc::gen::inRange(0, 31));
  };
  Delivery& delivery = plan.deliveries[below(plan.deliveries.size())];
  Extent& extent = plan.extents[below(plan.extents.size())];
  Part& part = plan.parts[below(plan.parts.size())];
  Placement& placement = plan.placements[below(plan.placements.size())];
  RC_PRE(placement.bytes != 0);
  switch (below(13)) {
    case 0:
      change(delivery.target_offset);
      break;
    case 1:
      change(delivery.source_offset);
      break;
    case 2:
      change(delivery.run_bytes);
      break;
    case 3:
      change(delivery.rows);
      break;
    case 4:
      change(delivery.placement);
      break;
    case 5:
      change(extent.offset);
      break;
    case 6:
      change(extent.shard);
      break;
    case 7:
      change(part.delivery_count);
      break;
    case 8:
      change(placement.arena_offset);
      break;
    case 9:
      change(placement.tensor);
      break;
    case 10:
      change(part.first_delivery);
      break;
    case 11:
      part.device ^= static_cast<std::uint8_t>(1u << below(8));
      break;
    default:
      change(placement.deliveries);
      break;
  }
  RC_ASSERT(check_plan(plan) != "");
}

}  // namespace
}  // namespace sluice
