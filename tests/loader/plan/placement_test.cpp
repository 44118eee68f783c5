// Goal: neighbours stay neighbours in the arena as far as alignment allows, gaps stay small, and what storage can be
// read into directly is found. Method: worked examples of place(), with the arena drawn in numbers. plan_test.cpp has
// the properties.
#include "loader/plan/placement.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "loader/base/limits.hpp"
#include "tests/loader/support/catalogue_builder.hpp"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// Places every tensor of a catalogue on every device, as it is or cast to `cast` where that can be.
class Placed {
 public:
  Placed(std::shared_ptr<const Catalogue> catalogue, std::vector<DeviceId> devices, std::uint32_t alignment_bytes = 0,
         std::optional<Dtype> cast = {}) {
    plan_.catalogue = std::move(catalogue);
    plan_.devices = std::move(devices);
    plan_.costs.devices.resize(plan_.devices.size());
    plan_.alignment_bytes = alignment_bytes;
    for (std::uint32_t i = 0; i < plan_.catalogue->tensors.size(); ++i) {
      const TensorInfo& tensor = plan_.catalogue->tensors[i];
      Placement placement;
      placement.tensor = i;
      placement.dtype = cast && is_castable(tensor.dtype) ? *cast : tensor.dtype;
      placement.bytes = delivered_bytes(tensor.bytes, tensor.dtype, placement.dtype);
      Route& route = plan_.routes.emplace_back();
      route.begin = tensor.offset;
      route.end = tensor.offset + tensor.bytes;
      route.shard = tensor.shard;
      route.dtype = tensor.dtype;
      route.tensor = i;
      route.first_placement = static_cast<std::uint32_t>(plan_.placements.size());
      route.placement_count = static_cast<std::uint8_t>(plan_.devices.size());
      for (std::size_t device = 0; device < plan_.devices.size(); ++device) {
        placement.device = static_cast<std::uint8_t>(device);
        plan_.placements.push_back(placement);
      }
    }
    in_place_ = place(plan_);
  }

  std::vector<std::uint64_t> offsets(std::uint8_t device = 0) const {
    std::vector<std::uint64_t> offsets;
    for (const Placement& placement : plan_.placements) {
      if (placement.device == device) offsets.push_back(placement.arena_offset);
    }
    return offsets;
  }

  // begin and end, in turn
  std::vector<std::uint64_t> in_place() const {
    std::vector<std::uint64_t> ends;
    for (const ShardRange& range : in_place_) ends.insert(ends.end(), {range.begin, range.end});
    return ends;
  }

  std::uint64_t arena_bytes(std::size_t device = 0) const { return plan_.costs.devices[device].arena_bytes; }

 private:
  PlanData plan_;
  std::vector<ShardRange> in_place_;
};

TEST(Placement, KeepsNeighboursTogetherWhereTheirAlignmentAllows) {
  CatalogueBuilder builder;
  builder.shard(8).tensor("a", bf16, {128}).tensor("b", bf16, {128}).tensor("c", bf16, {4});
  const Placed placed(builder.build(), {cuda(0)});
  EXPECT_THAT(placed.offsets(), ElementsAre(0, 256, 512));
  EXPECT_EQ(placed.arena_bytes(), 4096u);
}

TEST(Placement, AlignsSmallTensorsToNoMoreThanTheirSize) {
  // 8 bytes, then 64: a promise of 256 would waste the arena on scalars.
  CatalogueBuilder builder;
  builder.shard(4096).tensor("scalars", f32, {2}).tensor("vector", f32, {16});
  EXPECT_THAT(Placed(builder.build(), {cuda(0)}).offsets(), ElementsAre(56, 64));
}

TEST(Placement, NeverAlignsBelowWhatTheDtypeNeeds) {
  // Three bytes and one double: 3 would round down to 2, and 8 bytes are the double's own alignment.
  CatalogueBuilder builder;
  builder.shard(4096).bytes("three", 3).tensor("double", f64, {1}).tensor("float", f32, {1});
  EXPECT_THAT(Placed(builder.build(), {cuda(0)}).offsets(), ElementsAre(0, 8, 16));
}

TEST(Placement, AlignsCastsByWhatIsDelivered) {
  CatalogueBuilder builder;
  builder.shard(4096).tensor("a", f32, {10}).tensor("b", f32, {1000});
  // 20 bytes to 16, 2000 to 256.
  EXPECT_THAT(Placed(builder.build(), {host()}, 0, bf16).offsets(), ElementsAre(0, 256));
}

TEST(Placement, IsCongruentWithTheFileWhereAHostCanBeReadIntoDirectly) {
  CatalogueBuilder builder;
  builder.shard(104).bytes("small", 100).shard(1000).bytes("a", 300 * kib).bytes("b", 200 * kib);
  const Placed placed(builder.build(), {host()});
  // "small" has no block of its own. The run of "a" and "b" begins 1000 bytes behind a block, in the arena as in the
  // file.
  EXPECT_THAT(placed.offsets(), ElementsAre(0, 1000, 1000 + 300 * kib));
  EXPECT_THAT(placed.in_place(), ElementsAre(4096, 500 * kib));
}

TEST(Placement, LeavesNoGapsOfABlockBeforeShortRuns) {
  CatalogueBuilder builder;
  builder.shard(4096 + 64).bytes("a", 100 * kib).shard(4096 + 128).bytes("b", 100 * kib);
  const Placed placed(builder.build(), {host()});
  // Each keeps the alignment it has in the shard, 64 and 128.
  EXPECT_THAT(placed.offsets(), ElementsAre(0, 100 * kib));
  EXPECT_THAT(placed.in_place(), IsEmpty());
}

TEST(Placement, ReadsInPlaceFromTheLeastNumberOfWholeBlocksOn) {
  CatalogueBuilder enough;
  enough.shard(4095).bytes("a", limits::in_place_bytes_min + 1);
  EXPECT_THAT(Placed(enough.build(), {host()}).in_place(), ElementsAre(4096, 4096 + limits::in_place_bytes_min));
  CatalogueBuilder less;
  less.shard(4095).bytes("a", limits::in_place_bytes_min);
  EXPECT_THAT(Placed(less.build(), {host()}).in_place(), IsEmpty());
}

TEST(Placement, ReadsNothingInPlaceThatSeveralDevicesNeed) {
  CatalogueBuilder builder;
  builder.shard(4096).bytes("a", 1024 * kib);
  const std::shared_ptr<const Catalogue> catalogue = builder.build();
  EXPECT_THAT(Placed(catalogue, {host(), cuda(0)}).in_place(), IsEmpty());
  EXPECT_THAT(Placed(catalogue, {cuda(0)}).in_place(), IsEmpty());
  EXPECT_THAT(Placed(catalogue, {null()}).in_place(), IsEmpty());
  EXPECT_THAT(Placed(catalogue, {host()}).in_place(), ElementsAre(4096, 4096 + 1024 * kib));
}

TEST(Placement, TakesAMisalignedNeighbourOutOfARunThatIsReadInPlace) {
  // "bytes" may lie anywhere, "floats" may not: at 4097 + 1 MiB, it is placed for itself.
  CatalogueBuilder builder;
  builder.shard(4097).bytes("bytes", 1024 * kib).tensor("floats", f32, {1024});
  const Placed placed(builder.build(), {host()});
  EXPECT_THAT(placed.in_place(), ElementsAre(8192, 4096 + 1024 * kib));
  EXPECT_THAT(placed.offsets(), ElementsAre(1, 4 + 1024 * kib));
}

TEST(Placement, FillsEachDevicesArenaByItself) {
  CatalogueBuilder builder;
  builder.shard(4096 + 4).tensor("a", f32, {1}).tensor("b", f32, {64});
  const Placed placed(builder.build(), {cuda(0), host()});
  EXPECT_THAT(placed.offsets(0), ElementsAre(252, 256));
  EXPECT_THAT(placed.offsets(1), ElementsAre(4, 8));
}

TEST(Placement, GivesWhatIsAskedForExplicitly) {
  CatalogueBuilder builder;
  builder.shard(4096).tensor("a", f32, {1}).tensor("b", f32, {1});
  const std::shared_ptr<const Catalogue> catalogue = builder.build();
  EXPECT_THAT(Placed(catalogue, {host()}, 512).offsets(), ElementsAre(0, 512));
  EXPECT_THAT(Placed(catalogue, {cuda(0)}, 1).offsets(), ElementsAre(0, 4));
}

}  // namespace
}  // namespace sluice
