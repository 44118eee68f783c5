// Goal: what is wanted is read in few requests of whole blocks, none longer than a slab, with no block read twice.
// Method: worked examples of plans, whose extents are listed as offset+bytes. plan_test.cpp has the properties.
#include "loader/plan/cut_extents.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "loader/base/limits.hpp"
#include "loader/plan/access.hpp"
#include "tests/loader/support/catalogue_builder.hpp"

namespace sluice {
namespace {

using testing::ElementsAre;

Plan plan_of(CatalogueBuilder& builder, const Request& request, std::uint64_t slab_bytes = 64 * kib) {
  Options options;
  options.slab_bytes = slab_bytes;
  return make_plan(builder.build(), request, options);
}

Request onto(DeviceId device, const std::vector<std::string>& patterns) {
  Request request;
  request.devices = {device};
  for (const std::string& pattern : patterns) request.add(pattern);
  return request;
}

std::vector<std::string> extents(const Plan& plan) {
  std::vector<std::string> lines;
  for (const Extent& extent : Access::data(plan)->extents) {
    lines.push_back(fmt::format("{}:{}+{}{}{}", extent.shard, extent.offset, extent.bytes,
                                extent.in_place ? " in place" : "", extent.aligned ? "" : " unaligned"));
  }
  return lines;
}

TEST(Extents, AreWholeBlocksButForTheEndOfTheFile) {
  CatalogueBuilder builder;
  builder.shard(5000).bytes("a", 10'000).bytes("b", 3000).bytes("c", 100);
  EXPECT_THAT(extents(plan_of(builder, onto(cuda(0), {"*"}))), ElementsAre("0:4096+14004"));
}

TEST(Extents, AreCutAtSlabs) {
  CatalogueBuilder builder;
  builder.shard(100).bytes("a", 150 * kib);
  EXPECT_THAT(extents(plan_of(builder, onto(null(), {"*"}))),
              ElementsAre("0:0+65536", "0:65536+65536", "0:131072+22628"));
}

TEST(Extents, NeverSpanShards) {
  CatalogueBuilder builder;
  builder.shard(4096).bytes("a", 4096).shard(4096).bytes("b", 4096);
  EXPECT_THAT(extents(plan_of(builder, onto(cuda(0), {"*"}))), ElementsAre("0:4096+4096", "1:4096+4096"));
}

TEST(Extents, ReadSmallGapsAlongAndSkipLargeOnes) {
  CatalogueBuilder builder;
  builder.shard(4096).bytes("a", 4096).bytes("gap", limits::gap_bytes_max).bytes("b", 4096);
  builder.shard(4096).bytes("c", 4096).bytes("large gap", limits::gap_bytes_max + 4096).bytes("d", 4096);
  EXPECT_THAT(extents(plan_of(builder, onto(cuda(0), {"a", "b", "c", "d"}), 256 * kib)),
              ElementsAre("0:4096+73728", "1:4096+4096", "1:77824+4096"));
}

TEST(Extents, ReadNoGapThatFillsOneOfThem) {
  // Merged, the gap would be the second of three extents.
  CatalogueBuilder builder;
  builder.shard(4096).bytes("a", 64 * kib).bytes("gap", limits::gap_bytes_max).bytes("b", 4096);
  EXPECT_THAT(extents(plan_of(builder, onto(null(), {"a", "b"}))), ElementsAre("0:4096+65536", "0:135168+4096"));
}

TEST(Extents, EndWhereTheLastRowDoes) {
  CatalogueBuilder builder;
  builder.shard(4096).tensor("w", Dtype::u8, {4, 8192}).bytes("behind", 64 * kib);
  Request request;
  request.add("w").take(take(1, 0, 4096)).on(null());
  EXPECT_THAT(extents(plan_of(builder, request)), ElementsAre("0:4096+28672"));
}

// Of one tensor: a piece that is wanted early, inside of what is wanted late.
TEST(Extents, OfSlicesThatOverlapComeWithTheFirstGroupThatNeedsThem) {
  CatalogueBuilder builder;
  builder.shard(4096).tensor("w", Dtype::u8, {50 * 4096}).bytes("x", 80 * 4096);
  Request request;
  Destination& all = request.destination("all", {50 * 4096}, Dtype::u8, null()).group({2});
  Destination& within = request.destination("within", {4096}, Dtype::u8, null()).group({2});
  Destination& early = request.destination("early", {10 * 4096}, Dtype::u8, null());
  request.add("w").to(all).to(within, take(0, 4096, 4096)).to(early, take(0, 20 * 4096, 10 * 4096));
  request.add("x").group({1}).on(null());
  const Plan plan = plan_of(builder, request, 1024 * kib);
  EXPECT_EQ(check_plan(*Access::data(plan)), "");
  EXPECT_THAT(extents(plan), ElementsAre("0:4096+204800", "0:208896+327680"));
  std::vector<std::uint64_t> until;
  for (const PlanCosts::OfGroup& group : plan.costs().groups) until.push_back(group.read_bytes_until);
  EXPECT_THAT(until, ElementsAre(204800, 204800 + 327680, 204800));
}

TEST(Extents, ShareTheBlockThatTwoTensorsShare) {
  // Both are read in place but for the block at 4096 + 1 MiB, where one ends and the other, which is cut off from it by
  // a tensor that is left out, begins.
  CatalogueBuilder builder;
  builder.shard(4096).bytes("a", 1024 * kib + 100).bytes("out", 200).bytes("b", 1024 * kib + 3796);
  EXPECT_THAT(extents(plan_of(builder, onto(host(), {"a", "b"}), 1024 * kib)),
              ElementsAre("0:4096+1048576 in place", "0:1052672+4096", "0:1056768+1048576 in place"));
}

TEST(Extents, GoBetweenTheElementsOfACastWhereTheseStraddleBlocks) {
  // Elements of four bytes begin at 4097: the block at 65536 + 4096 would split one, three bytes in.
  CatalogueBuilder builder;
  builder.shard(4097).tensor("a", f32, {32 * kib});
  Request request;
  request.add("*").cast(bf16);
  const Plan plan = plan_of(builder, request);
  EXPECT_THAT(extents(plan),
              ElementsAre("0:4096+65533 unaligned", "0:69629+61440 unaligned", "0:131069+4100 unaligned"));
  EXPECT_EQ(Access::data(plan)->deliveries[0].source_offset, 1u);
  EXPECT_EQ(Access::data(plan)->deliveries[0].run_bytes, 65532u);
  EXPECT_EQ(Access::data(plan)->deliveries[1].target_offset, Access::data(plan)->placements[0].arena_offset + 32766);
}

TEST(Extents, AreCutAtBlocksWhereTheSameTensorIsTakenAsItIs) {
  CatalogueBuilder builder;
  builder.shard(4097).tensor("a", f32, {16 * kib});
  EXPECT_THAT(extents(plan_of(builder, onto(null(), {"*"}))), ElementsAre("0:4096+65536", "0:69632+1"));
}

TEST(Extents, LeaveASixteenthOfTheSlabToTheTablesOfCudaDevices) {
  CatalogueBuilder builder;
  builder.shard(100).bytes("a", 150 * kib);
  EXPECT_THAT(extents(plan_of(builder, onto(cuda(0), {"*"}))),
              ElementsAre("0:0+61440", "0:61440+61440", "0:122880+30820"));
}

TEST(Extents, EndWhereTheTablesOfCudaDevicesAreFull) {
  // A table of 4096 bytes has 102 entries: at blocks where tensors are large enough, between two where they are not.
  const auto cut_for = [](std::vector<DeviceId> devices) {
    CatalogueBuilder builder;
    builder.shard(4096);
    for (int i = 0; i < 150; ++i) builder.bytes(fmt::format("small {}", i), 10);
    for (int i = 0; i < 150; ++i) builder.bytes(fmt::format("large {}", i), 100);
    Request request;
    request.devices = std::move(devices);
    request.add("*");
    return extents(plan_of(builder, request));
  };
  EXPECT_THAT(cut_for({cuda(0)}),
              ElementsAre("0:4096+1020 unaligned", "0:5116+3076 unaligned", "0:8192+8192", "0:16384+4212"));
  EXPECT_THAT(cut_for({cuda(0), cuda(1)}),
              ElementsAre("0:4096+510 unaligned", "0:4606+510 unaligned", "0:5116+780 unaligned",
                          "0:5896+2296 unaligned", "0:8192+4096", "0:12288+4096", "0:16384+4212"));
}

TEST(Extents, ListDeliveriesByDeviceAndThenByOffset) {
  CatalogueBuilder builder;
  builder.shard(4096).bytes("a", 100).bytes("b", 100).bytes("c", 100);
  Request request;
  request.devices = {cuda(1), cuda(0)};
  request.add("b").on(cuda(0));
  request.add("*");
  const Plan plan = plan_of(builder, request);
  std::vector<std::string> lines;
  for (const Delivery& delivery : Access::data(plan)->deliveries) {
    const Placement& placement = Access::data(plan)->placements[delivery.placement];
    lines.push_back(fmt::format("{} {}", name(Access::data(plan)->devices[placement.device]), delivery.source_offset));
  }
  EXPECT_THAT(lines, ElementsAre("cuda:0 0", "cuda:0 100", "cuda:0 200", "cuda:1 0", "cuda:1 200"));
}

}  // namespace
}  // namespace sluice
