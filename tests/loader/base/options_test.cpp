// Goal: resolve() fills in what is left open and refuses what is out of bounds, naming it.
// Method: every bound is tried on both sides.
#include "sluice/options.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <string>

#include "loader/base/limits.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

using testing::AllOf;
using testing::Ge;
using testing::HasSubstr;
using testing::Le;

constexpr std::uint64_t kib = 1024;
constexpr std::uint64_t mib = 1024 * kib;

Options staging(std::uint64_t staging_bytes, std::uint64_t slab_bytes = 0) {
  Options options;
  options.staging_bytes = staging_bytes;
  options.slab_bytes = slab_bytes;
  return options;
}

// What is wrong with the options, or "" if nothing is.
std::string refusal(const Options& options) {
  try {
    resolve(options);
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    return error.what();
  }
}

TEST(Options, AreFilledInWhereTheyAreZero) {
  const Options options = resolve({});
  EXPECT_EQ(options.staging_bytes, 128 * mib);
  EXPECT_EQ(options.slab_bytes, 4 * mib);
  EXPECT_EQ(options.queue_depth, 32u);
  EXPECT_THAT(options.threads, AllOf(Ge(1u), Le(16u)));
}

TEST(Options, AreLeftAloneWhereTheyAreSet) {
  Options options = staging(10 * mib, 2 * mib);
  options.queue_depth = 3;
  options.threads = 200;
  options.io = IoMode::direct;
  options.reader = ReaderKind::pread;
  const Options resolved = resolve(options);
  EXPECT_EQ(resolved.staging_bytes, 10 * mib);
  EXPECT_EQ(resolved.slab_bytes, 2 * mib);
  EXPECT_EQ(resolved.queue_depth, 3u);
  EXPECT_EQ(resolved.threads, 200u);
  EXPECT_EQ(resolved.io, IoMode::direct);
  EXPECT_EQ(resolved.reader, ReaderKind::pread);
}

TEST(Options, ResolveToThemselvesOnceResolved) {
  const Options once = resolve(staging(5 * mib));
  const Options twice = resolve(once);
  EXPECT_EQ(once.slab_bytes, twice.slab_bytes);
  EXPECT_EQ(once.queue_depth, twice.queue_depth);
  EXPECT_EQ(once.threads, twice.threads);
}

TEST(Options, GiveSmallStagingFourSlabs) {
  EXPECT_EQ(resolve(staging(256 * kib)).slab_bytes, 64 * kib);
  EXPECT_EQ(resolve(staging(511 * kib)).slab_bytes, 64 * kib);
  EXPECT_EQ(resolve(staging(512 * kib)).slab_bytes, 128 * kib);
  EXPECT_EQ(resolve(staging(16 * mib - 1)).slab_bytes, 4 * mib - 64 * kib);
  EXPECT_EQ(resolve(staging(16 * mib)).slab_bytes, 4 * mib);
  EXPECT_EQ(resolve(staging(limits::staging_bytes_max)).slab_bytes, 4 * mib);
}

TEST(Options, AreRefusedBeyondTheirBoundsByName) {
  EXPECT_EQ(refusal(staging(limits::staging_bytes_min)), "");
  EXPECT_THAT(refusal(staging(limits::staging_bytes_min - 1)), HasSubstr("staging_bytes"));
  EXPECT_EQ(refusal(staging(limits::staging_bytes_max)), "");
  EXPECT_THAT(refusal(staging(limits::staging_bytes_max + 1)), HasSubstr("staging_bytes"));

  EXPECT_EQ(refusal(staging(64 * mib, limits::slab_bytes_unit)), "");
  EXPECT_THAT(refusal(staging(64 * mib, limits::slab_bytes_unit - 1)), HasSubstr("slab_bytes"));
  EXPECT_THAT(refusal(staging(64 * mib, limits::slab_bytes_unit + 4096)), HasSubstr("multiple"));
  EXPECT_EQ(refusal(staging(64 * mib, 64 * mib)), "");
  EXPECT_THAT(refusal(staging(64 * mib, 64 * mib + limits::slab_bytes_unit)), HasSubstr("slab_bytes"));
  EXPECT_EQ(refusal(staging(limits::staging_bytes_max, limits::slab_bytes_max)), "");
  EXPECT_THAT(refusal(staging(limits::staging_bytes_max, limits::slab_bytes_max + limits::slab_bytes_unit)),
              HasSubstr("slab_bytes"));

  Options options;
  options.queue_depth = limits::queue_depth_max;
  options.threads = limits::threads_max;
  EXPECT_EQ(refusal(options), "");
  options.queue_depth = limits::queue_depth_max + 1;
  EXPECT_THAT(refusal(options), HasSubstr("queue_depth"));
  options.queue_depth = 0;
  options.threads = limits::threads_max + 1;
  EXPECT_THAT(refusal(options), HasSubstr("threads"));
}

TEST(Options, CountOnlyTheProcessorsThatTheProcessMayUse) {
  cpu_set_t all;
  ASSERT_EQ(sched_getaffinity(0, sizeof all, &all), 0);
  EXPECT_EQ(resolve({}).threads, static_cast<unsigned>(std::min(CPU_COUNT(&all), 16)));
  int first = 0;
  while (!CPU_ISSET(first, &all)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(resolve({}).threads, 1u);
  ASSERT_EQ(sched_setaffinity(0, sizeof all, &all), 0);
}

TEST(Options, AreNamedAsTheCommandLineSpellsThem) {
  EXPECT_EQ(name(IoMode::automatic), "auto");
  EXPECT_EQ(name(IoMode::direct), "direct");
  EXPECT_EQ(name(IoMode::buffered), "buffered");
  EXPECT_EQ(name(ReaderKind::automatic), "auto");
  EXPECT_EQ(name(ReaderKind::uring), "uring");
  EXPECT_EQ(name(ReaderKind::pread), "pread");
  EXPECT_EQ(name(ReaderKind::null), "null");
}

}  // namespace
}  // namespace sluice
