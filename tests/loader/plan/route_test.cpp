// Goal: routes lead every element of one box to its place in the other, and a walk over any range of the shard gives
// just what lies in it.
// Method: random boxes and ranges against element-by-element enumeration.
#include "loader/plan/route.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "sluice/error.hpp"
#include "tests/loader/support/slice_cases.hpp"

namespace sluice {
namespace {

using Pairs = std::map<std::uint64_t, std::uint64_t>;  // source byte or element -> target

Pairs pairs_of(const std::vector<ElementRoute>& routes) {
  Pairs pairs;
  for (const ElementRoute& route : routes) {
    std::uint64_t count = 1;
    for (const Loop& loop : route.loops) count *= loop.count;
    for (std::uint64_t i = 0; i < count; ++i) {
      std::uint64_t source = route.source;
      std::uint64_t target = route.target;
      std::uint64_t rest = i;
      for (std::size_t d = route.loops.size(); d-- > 0;) {
        source += rest % route.loops[d].count * route.loops[d].source_stride;
        target += rest % route.loops[d].count * route.loops[d].target_stride;
        rest /= route.loops[d].count;
      }
      for (std::uint64_t e = 0; e < route.run; ++e) {
        EXPECT_TRUE(pairs.emplace(source + e, target + e).second) << "element " << source + e << " goes twice";
      }
    }
  }
  return pairs;
}

std::uint64_t place_in(const Layout& layout, std::uint64_t index) {
  if (layout.strides.empty()) return index;
  std::uint64_t place = 0;
  for (std::size_t d = layout.shape.size(); d-- > 0;) {
    place += index % layout.shape[d] * layout.strides[d];
    index /= layout.shape[d];
  }
  return place;
}

void expect_routes(const Slice& from, const Shape& tensor, const Slice& into, const Shape& shape, const Shape& strides,
                   std::size_t routes_most = SIZE_MAX) {
  const Layout layout{shape, strides};
  const std::vector<ElementRoute> routes = routes_between(box_of(from, tensor), box_of(into, shape), layout);
  const std::vector<std::uint64_t> sources = elements_taken(from, tensor);
  const std::vector<std::uint64_t> targets = elements_taken(into, shape);
  Pairs want;
  for (std::size_t i = 0; i < sources.size(); ++i) want[sources[i]] = place_in(layout, targets[i]);
  EXPECT_EQ(pairs_of(routes), want) << text(from) << " -> " << text(into);
  EXPECT_LE(routes.size(), routes_most);
}

TEST(Routes, LeadEveryElementToItsPlace) {
  expect_routes({}, {8, 6}, {}, {8, 6}, {}, 1);
  expect_routes(part(1, 1, 2), {8, 6}, {}, {8, 3}, {}, 1);
  expect_routes({}, {8, 6}, as({2, 8, 6}).at(0, 1), {16, 6}, {}, 1);
  expect_routes(order({1, 0}), {8, 6}, {}, {6, 8}, {}, 1);
  expect_routes(as({4, 2, 6}).order({1, 0, 2}), {8, 6}, as({2, 4, 6}), {48}, {}, 1);
  expect_routes({}, {}, at(0, 2), {3}, {}, 1);
  expect_routes({}, {1}, as({3, 1}).at(0, 1), {3}, {}, 1);
  expect_routes(take(0, 3, 0), {8}, take(0, 1, 0), {5}, {}, 0);
}

TEST(Routes, KeepOffTheGapsOfMemoryWithAPitch) {
  expect_routes({}, {4, 6}, {}, {4, 6}, {8, 1}, 1);
  expect_routes(as({2, 2, 6}).at(1, 0), {4, 6}, as({2, 2, 6}).at(1, 1), {4, 6}, {8, 1}, 1);
  expect_routes({}, {24}, as({24}), {4, 6}, {8, 1}, 4);
  expect_routes({}, {6, 4}, as({6, 4}), {2, 3, 4}, {24, 8, 1}, 1);
  expect_routes({}, {10}, as({24}).take(0, 3, 10), {4, 6}, {8, 1}, 3);
  expect_routes({}, {3, 8}, as({3, 8}), {4, 6}, {8, 1}, 6);
  expect_routes({}, {2, 1, 3}, {}, {2, 1, 3}, {5, 99, 1}, 1);
  expect_routes({}, {6}, as({6}), {2, 1, 3}, {3, 99, 1}, 1);
  expect_routes({}, {4, 1}, {}, {4, 1}, {8, 1}, 1);
}

TEST(Routes, AreRefusedWhereCountsDiffer) {
  const auto refusal = [](const Slice& from, const Shape& tensor, const Slice& into, const Shape& shape) {
    try {
      routes_between(box_of(from, tensor), box_of(into, shape), {shape, {}});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      return error.message();
    }
    return std::string("accepted");
  };
  EXPECT_THAT(refusal(take(0, 0, 3), {8, 6}, {}, {4, 6}),
              testing::HasSubstr("[3, 6] of [8, 6] go to [4, 6] of [4, 6]"));
  EXPECT_NE(refusal({}, {6, 8}, {}, {8, 6}), "accepted") << "the order counts";
  EXPECT_NE(refusal({}, {8, 6}, {}, {48}), "accepted");
  EXPECT_EQ(refusal(at(0, 3), {8, 6}, {}, {6}), "accepted") << "dimensions of one element aside";
  EXPECT_NE(refusal(take(0, 0, 0), {8}, {}, {8}), "accepted");
}

// A route of runs of `run_bytes` in two loops, and every way to cut its shard in three.
TEST(RouteWalk, GivesEveryByteOfARangeOnceAndInOrder) {
  for (const auto& [outer, inner, run] : {std::tuple{1, 1, 12}, {3, 1, 4}, {1, 3, 4}, {3, 2, 4}, {2, 3, 2}}) {
    Route route;
    route.begin = 100;
    const auto run_bytes = static_cast<std::uint64_t>(run);
    route.dtype = Dtype::u8;
    std::vector<Loop> loops;
    const std::uint64_t inner_stride = run_bytes + 3;
    const std::uint64_t outer_stride = static_cast<std::uint64_t>(inner) * inner_stride + 5;
    if (outer > 1) loops.push_back({static_cast<std::uint64_t>(outer), outer_stride, 1000});
    if (inner > 1) loops.push_back({static_cast<std::uint64_t>(inner), inner_stride, 50});
    route.end = 100 + run_bytes;
    for (const Loop& loop : loops) route.end += (loop.count - 1) * loop.source_stride;
    const RouteWalk walk(route, 0, loops, Dtype::u8);
    const auto bytes_in = [&](std::uint64_t begin, std::uint64_t end) {
      std::vector<std::pair<std::uint64_t, std::uint64_t>> bytes;
      std::uint64_t calls = 0;
      walk.rows(begin, end, [&](const Rows& rows) {
        ++calls;
        for (std::uint64_t row = 0; row < rows.rows; ++row) {
          for (std::uint64_t b = 0; b < rows.run_bytes; ++b) {
            bytes.emplace_back(route.begin + rows.source + row * rows.source_stride + b,
                               rows.target + row * rows.target_stride + b);
          }
        }
      });
      EXPECT_EQ(walk.count(begin, end), calls) << begin << " to " << end;
      for (const auto& [source, target] : bytes) EXPECT_TRUE(source >= begin && source < end);
      return bytes;
    };
    const auto all = bytes_in(0, 1000);
    EXPECT_EQ(all.size(), static_cast<std::size_t>(outer * inner * run));
    EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
    for (std::uint64_t first = 98; first < route.end + 2; ++first) {
      for (std::uint64_t second = first; second < route.end + 2; ++second) {
        auto joined = bytes_in(0, first);
        for (const auto& part : {bytes_in(first, second), bytes_in(second, 1000)}) {
          joined.insert(joined.end(), part.begin(), part.end());
        }
        ASSERT_EQ(joined, all) << first << ", " << second;
      }
    }
  }
}

TEST(RouteWalk, CountsTargetsInDeliveredBytes) {
  Route route;
  route.begin = 8;
  route.end = 48;
  route.dtype = f32;
  std::vector<std::uint64_t> targets;
  const RouteWalk walk(route, 6, {}, bf16);
  for (const auto& [begin, end] : {std::pair<std::uint64_t, std::uint64_t>{0, 16}, {16, 100}}) {
    walk.rows(begin, end, [&](const Rows& rows) { targets.push_back(rows.target); });
  }
  EXPECT_THAT(targets, testing::ElementsAre(6, 10));
}

}  // namespace
}  // namespace sluice
