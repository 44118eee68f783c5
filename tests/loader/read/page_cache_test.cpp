// Goal: what lies in the page cache is told from what does not, by cachestat, or by mincore where that is refused.
// Method: a file that is dropped from the cache and read again in part; a seccomp filter refuses cachestat.
#include "loader/read/page_cache.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <optional>
#include <vector>

#include "tests/loader/support/refusals.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice {
namespace {

constexpr std::uint64_t file_bytes = 1 << 20;
constexpr std::uint64_t half = file_bytes / 2;
constexpr long cachestat_call = 451;

// A file of which the second half is cached and the first is not.
class HalfCachedFile {
 public:
  HalfCachedFile() {
    path_ = folder_.write("file", noise(file_bytes));
    std::filesystem::permissions(folder_.path(), std::filesystem::perms(0755));  // for ordinary users
    descriptor_ = open(path_.c_str(), O_RDWR | O_CLOEXEC);
    posix_fadvise(descriptor_, 0, 0, POSIX_FADV_RANDOM);  // no read-ahead into the other half
    fsync(descriptor_);
    posix_fadvise(descriptor_, 0, 0, POSIX_FADV_DONTNEED);
    std::vector<std::byte> bytes(half);
    got_ = pread(descriptor_, bytes.data(), half, half);
  }
  ~HalfCachedFile() { close(descriptor_); }
  HalfCachedFile(const HalfCachedFile&) = delete;
  HalfCachedFile& operator=(const HalfCachedFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  int descriptor() const { return descriptor_; }
  bool was_read() const { return got_ == static_cast<ssize_t>(half); }

 private:
  TemporaryFolder folder_;
  std::filesystem::path path_;
  int descriptor_ = -1;
  ssize_t got_ = 0;
};

TEST(PageCache, TellsCachedRangesFromOthers) {
  const HalfCachedFile file;
  ASSERT_TRUE(file.was_read());
  PageCache cache;
  const std::optional<std::uint64_t> all = cache.cached_bytes(file.descriptor(), 0, file_bytes);
  if (!all) GTEST_SKIP() << "this file system tells nothing of its page cache";
  if (*all == file_bytes) GTEST_SKIP() << "this file system keeps its files in memory";
  EXPECT_EQ(all, half);
  EXPECT_EQ(cache.cached_bytes(file.descriptor(), 0, half), 0u);
  EXPECT_EQ(cache.cached_bytes(file.descriptor(), half, half), half);
  EXPECT_EQ(cache.cached_bytes(file.descriptor(), half - 4096, 8192), 4096u);
}

TEST(PageCache, CountsNoMoreThanWasAskedFor) {
  const HalfCachedFile file;
  PageCache cache;
  const std::optional<std::uint64_t> some = cache.cached_bytes(file.descriptor(), half + 10, 100);
  if (!some) GTEST_SKIP() << "this file system tells nothing of its page cache";
  EXPECT_EQ(some, 100u);
}

TEST(PageCache, TellsNothingOfWhatIsNoFile) {
  PageCache cache;
  EXPECT_FALSE(cache.cached_bytes(-1, 0, 4096).has_value());
}

TEST(PageCache, TellsNothingOfOthersFilesOfWhichMincoreSaysThatAllIsCached) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to own a file that an ordinary user reads";
  const HalfCachedFile file;
  in_child([&] {
    refuse_calls({cachestat_call}, ENOSYS);
    become_ordinary_user();
    const int descriptor = open(file.path().c_str(), O_RDONLY | O_CLOEXEC);
    PageCache cache;
    EXPECT_EQ(cache.cached_bytes(descriptor, 0, file_bytes), std::nullopt);
  });
}

class PageCacheWithoutCachestat : public testing::TestWithParam<int> {};

TEST_P(PageCacheWithoutCachestat, AsksMincoreAndSaysWhy) {
  const HalfCachedFile file;
  {
    PageCache cache;
    const auto all = cache.cached_bytes(file.descriptor(), 0, file_bytes);
    if (!all || *all == file_bytes) GTEST_SKIP() << "this file system's page cache cannot be watched";
  }
  EXPECT_EXIT(({
                refuse_calls({cachestat_call}, GetParam());
                PageCache cache;
                require(cache.cached_bytes(file.descriptor(), 0, file_bytes) == half, "half of the file is cached");
                require(cache.cached_bytes(file.descriptor(), 0, half) == 0u, "the first half is not");
                require(cache.cached_bytes(file.descriptor(), half + 10, 100) == 100u, "ranges need not be aligned");
                require(!cache.refusal().empty(), "the refusal is told");
                std::_Exit(0);
              }),
              testing::ExitedWithCode(0), "");
}

INSTANTIATE_TEST_SUITE_P(Errors, PageCacheWithoutCachestat, testing::Values(ENOSYS, EPERM));

}  // namespace
}  // namespace sluice
