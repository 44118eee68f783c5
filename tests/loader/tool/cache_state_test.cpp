// Goal: a checkpoint is called cold or warm only when the kernel has said so; where that cannot be had the reason is
// told.
// Method: files of a test's own, asked about by the library's PageCache.
#include "loader/tool/cache_state.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "sluice/error.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice::tool {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t first_bytes = (3u << 20) + 77;
constexpr std::uint64_t second_bytes = 1u << 20;
constexpr std::uint64_t header_bytes = 100;

const auto no_check = [] {};

std::vector<CachedFile> two_files(const TemporaryFolder& folder) {
  return {{folder.write("first", noise(first_bytes)), first_bytes, first_bytes},
          {folder.write("second", noise(second_bytes)), second_bytes, header_bytes}};
}

TEST(CacheState, ColdMeansThatNothingIsCachedAndWarmThatAllIs) {
  const TemporaryFolder folder;
  CacheState state(two_files(folder), 2, no_check);
  EXPECT_EQ(state.bytes(), first_bytes + second_bytes);
  EXPECT_EQ(state.read_bytes(), first_bytes + header_bytes);
  const CacheState::Outcome cold = state.make_cold();
  if (!cold.refusal.empty()) GTEST_SKIP() << cold.refusal;
  EXPECT_LT(cold.cached_bytes * 100, state.bytes());
  EXPECT_EQ(state.cached_bytes(), cold.cached_bytes);
  const CacheState::Outcome warm = state.make_warm(0);
  EXPECT_EQ(warm.refusal, "");
  EXPECT_GE(warm.cached_bytes, state.read_bytes());
  // Of a file of which only the header is read, only that is made warm, and what the kernel reads ahead of it.
  EXPECT_EQ(state.make_cold().refusal, "");
  EXPECT_LT(state.cached_bytes() * 100, state.bytes());
}

TEST(CacheState, FilesInMemoryCannotBeCold) {
  if (access("/dev/shm", W_OK) != 0) GTEST_SKIP() << "there is no /dev/shm";
  const TemporaryFolder folder("/dev/shm");
  CacheState state({{folder.write("first", noise(4096)), 4096, 4096}}, 1, no_check);
  EXPECT_THAT(state.make_cold().refusal, HasSubstr("keeps files in memory"));
  EXPECT_EQ(state.make_warm(0).refusal, "");
}

TEST(CacheState, WhatDoesNotFitIntoMemoryCannotBeWarm) {
  const TemporaryFolder folder;
  CacheState state(two_files(folder), 2, no_check);
  EXPECT_THAT(state.make_warm(std::uint64_t{1} << 60).refusal, HasSubstr("do not fit"));
}

TEST(CacheState, AFileThatIsGoneIsAnErrorWithItsPath) {
  const TemporaryFolder folder;
  const std::vector<CachedFile> files = two_files(folder);
  CacheState state(files, 2, no_check);
  std::filesystem::remove(files[1].path);
  try {
    state.make_cold();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.path(), files[1].path.string());
  }
}

TEST(CacheState, WhatTheCheckThrowsEndsIt) {
  const TemporaryFolder folder;
  CacheState state(two_files(folder), 2, [] { throw 7; });
  EXPECT_THROW(state.make_cold(), int);
}

}  // namespace
}  // namespace sluice::tool
