// Goal: with a budget, an arena falls into pieces that come and go in the order of reading, and what is there at a time
// stays within the budget and the largest tensor; what cannot is refused.
// Method: worked examples, and a thousand random requests, each plan held to its own invariants by check_plan().
#include "loader/plan/arena_pieces.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "loader/plan/access.hpp"
#include "sluice/limits.hpp"
#include "tests/loader/support/catalogue_builder.hpp"

namespace sluice {
namespace {

constexpr std::uint64_t arena_mib = 1 << 20;

Request budget_request(std::uint64_t budget, std::uint64_t piece = 0) {
  Request request;
  request.budget_bytes = budget;
  request.piece_bytes = piece;
  return request;
}

Request everything(std::uint64_t budget, DeviceId device = host()) {
  Request request = budget_request(budget);
  request.add("*").on(device);
  return request;
}

const PlanData& data_of(const Plan& plan) {
  return *Access::data(plan);
}

std::shared_ptr<const Catalogue> of_sizes(const std::vector<std::uint64_t>& sizes) {
  CatalogueBuilder builder;
  builder.shard(4096);
  for (std::size_t i = 0; i < sizes.size(); ++i) builder.bytes(fmt::format("t{:02}", i), sizes[i]);
  return builder.build();
}

TEST(ArenaPieces, AreAQuarterOfTheBudgetInWholeUnits) {
  EXPECT_EQ(piece_bytes_of(budget_request(0)), 0u);
  EXPECT_EQ(piece_bytes_of(budget_request(8 * arena_mib)), 2 * arena_mib);
  EXPECT_EQ(piece_bytes_of(budget_request(100 * arena_mib)), 24 * arena_mib);
  EXPECT_EQ(piece_bytes_of(budget_request(8192 * arena_mib)), 256 * arena_mib);
  EXPECT_EQ(piece_bytes_of(budget_request(64 * arena_mib, 6 * arena_mib)), 6 * arena_mib);
}

TEST(ArenaPieces, HoldWhatIsReadTogether) {
  const Plan plan =
      make_plan(of_sizes(std::vector<std::uint64_t>(10, arena_mib - 4096)), everything(16 * arena_mib), {});
  const PlanData& data = data_of(plan);
  ASSERT_EQ(check_plan(data), "");
  ASSERT_EQ(data.pieces.size(), 3u);
  EXPECT_EQ(data.pieces[0].placements, 4u);
  EXPECT_EQ(data.pieces[1].placements, 4u);
  EXPECT_EQ(data.pieces[2].placements, 2u);
  EXPECT_EQ(piece_of(data, data.placements[3]), 0u);
  EXPECT_EQ(piece_of(data, data.placements[4]), 1u);
  EXPECT_EQ(plan.costs().devices[0].arena_bytes, 10 * arena_mib);
  EXPECT_EQ(plan.costs().devices[0].arena_peak_bytes, 10 * arena_mib);
}

TEST(ArenaPieces, AreOneWithoutABudget) {
  const Plan plan = make_plan(of_sizes({arena_mib, arena_mib}), everything(0), {});
  EXPECT_TRUE(data_of(plan).pieces.empty());
  EXPECT_EQ(plan.costs().devices[0].arena_peak_bytes, plan.costs().devices[0].arena_bytes);
  EXPECT_FALSE(piece_of(data_of(plan), data_of(plan).placements[0]));
}

TEST(ArenaPieces, GrowForOneLargeTensorOnly) {
  const Plan plan = make_plan(of_sizes({arena_mib, 40 * arena_mib, arena_mib}), everything(8 * arena_mib, cuda(0)), {});
  const PlanData& data = data_of(plan);
  ASSERT_EQ(check_plan(data), "");
  ASSERT_EQ(data.pieces.size(), 3u);
  EXPECT_EQ(data.pieces[1].bytes, 40 * arena_mib);
  EXPECT_LE(plan.costs().devices[0].arena_peak_bytes, 48 * arena_mib);
}

TEST(ArenaPieces, FollowGroupsAndNotFiles) {
  Request grouped = budget_request(8 * arena_mib);
  for (const char* const name : {"t00", "t02", "t04"}) grouped.add(name).group({2});
  grouped.add("*").group({1});
  const auto catalogue = of_sizes(std::vector<std::uint64_t>(6, 2 * arena_mib - 8192));
  const Plan plan = make_plan(catalogue, grouped, {});
  const PlanData& data = data_of(plan);
  ASSERT_EQ(check_plan(data), "");
  ASSERT_EQ(data.pieces.size(), 6u);
  EXPECT_EQ(piece_of(data, data.placements[1]), 0u);
  EXPECT_EQ(piece_of(data, data.placements[3]), 1u);
  EXPECT_EQ(piece_of(data, data.placements[5]), 2u);
  EXPECT_EQ(piece_of(data, data.placements[0]), 3u);
}

/// Destinations of the first and the last tensor each would all be under way until the end.
TEST(ArenaPieces, AreRefusedWhereTheyAreUnderWayTogether) {
  Request request = budget_request(8 * arena_mib);
  for (unsigned i = 0; i < 8; ++i) {
    Destination& whole = request.destination(fmt::format("d{}", i), {4 * arena_mib}, Dtype::u8, host());
    request.add(fmt::format("t{:02}", i)).to(whole, {}, part(0, 0, 2));
    request.add(fmt::format("t{:02}", 8 + i)).to(whole, {}, part(0, 1, 2));
  }
  const auto catalogue = of_sizes(std::vector<std::uint64_t>(16, 2 * arena_mib));
  try {
    make_plan(catalogue, request, {});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::limit_exceeded);
    EXPECT_THAT(error.what(), testing::HasSubstr("33554432 bytes"));
  }
  request.budget_bytes = 32 * arena_mib;
  EXPECT_EQ(check_plan(data_of(make_plan(catalogue, request, {}))), "");
}

TEST(ArenaPieces, AreRefusedOutsideTheirBounds) {
  const auto catalogue = of_sizes({arena_mib});
  for (const auto& [budget, piece] :
       std::vector<std::pair<std::uint64_t, std::uint64_t>>{{1, 0},
                                                            {8 * arena_mib - 1, 0},
                                                            {limits::budget_bytes_max + 1, 0},
                                                            {8 * arena_mib, 6 * arena_mib},
                                                            {8 * arena_mib, arena_mib}}) {
    Request request = budget_request(budget, piece);
    request.add("*");
    EXPECT_THROW(make_plan(catalogue, request, {}), Error) << budget << ' ' << piece;
  }
}

class Draw {
 public:
  explicit Draw(std::uint64_t seed) : random_(seed) {}
  std::uint64_t operator()(std::uint64_t from, std::uint64_t to) {
    return std::uniform_int_distribution<std::uint64_t>(from, to)(random_);
  }

 private:
  std::mt19937_64 random_;
};

std::uint64_t draw_size(Draw& draw) {
  switch (draw(0, 5)) {
    case 0:
      return draw(0, 300);
    case 1:
      return draw(1, 5) * arena_mib;
    case 2:
      return draw(1, 12 * arena_mib);
    default:
      return draw(1, 200'000);
  }
}

Plan draw_plan(Draw& draw, bool groups) {
  CatalogueBuilder builder;
  const std::uint64_t shards = draw(1, 3);
  for (std::uint64_t shard = 0; shard < shards; ++shard) {
    builder.shard(8 * draw(2, 2'000));
    const std::uint64_t tensors = draw(1, 30);
    for (std::uint64_t i = 0; i < tensors; ++i) builder.bytes(fmt::format("s{}.t{}", shard, i), draw_size(draw));
  }
  Request request = budget_request(draw(8, 64) * arena_mib);
  const std::vector<DeviceId> all = {host(), cuda(0), cuda(1), null()};
  for (const char* const pattern : {"*[02468]", "s1.*", "*"}) {
    std::vector<DeviceId> devices;
    for (const DeviceId device : all) {
      if (draw(0, 2) == 0) devices.push_back(device);
    }
    if (devices.empty()) devices.push_back(host());
    request.add(pattern).on(devices).group({groups ? static_cast<std::uint32_t>(draw(0, 3)) : 0}).optional();
  }
  Options options;
  options.slab_bytes = limits::slab_bytes_unit * draw(1, 64);
  return make_plan(builder.build(), request, options);
}

void expect_promises(const Plan& plan) {
  const PlanData& data = data_of(plan);
  ASSERT_EQ(check_plan(data), "");
  for (std::size_t i = 0; i < data.devices.size(); ++i) {
    std::uint64_t largest = 0;
    for (const Placement& placement : data.placements) {
      if (placement.device == i) largest = std::max(largest, placement.bytes);
    }
    EXPECT_LE(plan.costs().devices[i].arena_peak_bytes, data.budget_bytes + largest + 2 * limits::piece_bytes_unit);
  }
}

TEST(ArenaPieces, KeepTheirPromisesWhateverIsAsked) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(seed);
    Draw draw(seed);
    expect_promises(draw_plan(draw, false));
  }
}

/// However groups lie in their shards, what is read with one needs no memory of the next.
TEST(ArenaPieces, KeepTheirPromisesInGroups) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(seed);
    Draw draw(seed);
    expect_promises(draw_plan(draw, true));
  }
}

}  // namespace
}  // namespace sluice
