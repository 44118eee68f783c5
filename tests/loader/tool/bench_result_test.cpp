// Goal: medians, spreads and shares are those of the samples; a warm start is not judged by what storage can do.
// Method: results by numbers.
#include "loader/tool/bench_result.hpp"

#include <gtest/gtest.h>

#include "tests/loader/tool/bench_results.hpp"

namespace sluice::tool {
namespace {

TEST(BenchResult, SpreadsAreOfTheSamples) {
  EXPECT_EQ(spread_of({}).median, 0);
  const Spread odd = spread_of({3, 1, 2});
  EXPECT_EQ(odd.median, 2);
  EXPECT_EQ(odd.least, 1);
  EXPECT_EQ(odd.most, 3);
  EXPECT_EQ(spread_of({4, 1, 2, 3}).median, 2.5);
}

TEST(BenchResult, TheBestSettingHasTheHighestMedian) {
  EXPECT_EQ(best_setting({}), nullptr);
  const BenchResult result = typical_result();
  ASSERT_NE(best_setting(result), nullptr);
  EXPECT_EQ(best_setting(result)->setting.depth, 8u);
}

TEST(BenchResult, ColdStartsAreMeasuredByStorage) {
  const BenchResult result = typical_result();
  const Summary summary = summarise(result, result.cold);
  EXPECT_DOUBLE_EQ(summary.seconds.median, 0.6);
  EXPECT_DOUBLE_EQ(summary.seconds.least, 0.5);
  EXPECT_DOUBLE_EQ(summary.seconds.most, 0.8);
  EXPECT_DOUBLE_EQ(summary.process_seconds.median, 0.7);
  EXPECT_DOUBLE_EQ(summary.cpu_seconds_per_gb, 0.1);
  EXPECT_EQ(summary.peak_resident_bytes, 300u << 20);
  EXPECT_EQ(summary.peak_staging_bytes, 8u << 20);
  ASSERT_TRUE(summary.diagnosis.limit);
  EXPECT_EQ(summary.diagnosis.limit->resource, Resource::storage);
  EXPECT_DOUBLE_EQ(summary.share_of_limit, 0.5 / 0.6);
  EXPECT_EQ(summary.diagnosis.bottleneck, Resource::storage);
}

TEST(BenchResult, WarmStartsAreMeasuredByThePageCache) {
  const BenchResult result = typical_result();
  const Summary summary = summarise(result, result.warm);
  ASSERT_TRUE(summary.diagnosis.limit);
  EXPECT_EQ(summary.diagnosis.limit->resource, Resource::memory);
  EXPECT_DOUBLE_EQ(summary.diagnosis.limit->seconds, 0.1);
  for (const Explanation& one : summary.diagnosis.explanations) EXPECT_NE(one.resource, Resource::storage);
}

TEST(BenchResult, WarmStartsThatPassThePageCacheByAreMeasuredByStorage) {
  BenchResult result = typical_result();
  for (Start& start : result.warm) start.direct_bytes = start.bytes;
  EXPECT_EQ(summarise(result, result.warm).diagnosis.limit->resource, Resource::storage);
}

TEST(BenchResult, EachDeviceHasItsLink) {
  BenchResult result = typical_result();
  result.load.links = {{"cuda:0", 1'000'000'000}, {"cuda:1", 1'000'000'000}};
  result.links = {{0.3, {{"cuda:0", "a", 20e9}, {"cuda:1", "b", 1.7e9}}},
                  {0.4, {{"cuda:0", "a", 22e9}, {"cuda:1", "b", 1.9e9}}}};
  EXPECT_DOUBLE_EQ(link_rate(result, 0), 21e9);
  EXPECT_DOUBLE_EQ(link_rate(result, 1), 1.8e9);
  EXPECT_EQ(link_rate(result, 2), 0);
  const Summary summary = summarise(result, result.cold);
  EXPECT_EQ(summary.diagnosis.bottleneck, Resource::link);
  EXPECT_NE(summary.diagnosis.sentence.find("cuda:1"), std::string::npos) << summary.diagnosis.sentence;
}

}  // namespace
}  // namespace sluice::tool
