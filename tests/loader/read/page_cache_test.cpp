// Goal: what lies in the page cache is told from what does not: by cachestat, by mincore where that is refused, and by
// a sample where the file is somebody else's. Method: a file that is dropped from the cache and read again in part; a
// seccomp filter refuses calls; a child process becomes an ordinary user.
#include "loader/read/page_cache.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
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

// A file of root's, as an ordinary user sees it in a child process, whose cachestat may be refused.
class OthersFile : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root, to own a file that an ordinary user reads";
    PageCache cache;
    const auto all = cache.cached_bytes(file_.descriptor(), 0, file_bytes);
    if (!all || *all == file_bytes) GTEST_SKIP() << "this file system's page cache cannot be watched";
    std::filesystem::permissions(file_.path(), std::filesystem::perms(0444));
  }
  int open_as_ordinary_user() const {
    if (GetParam()) refuse_calls({cachestat_call}, ENOSYS);
    become_ordinary_user();
    return open(file_.path().c_str(), O_RDONLY | O_CLOEXEC);
  }

  const HalfCachedFile file_;
};

TEST_P(OthersFile, IsToldBySample) {
  in_child([&] {
    const int descriptor = open_as_ordinary_user();
    PageCache cache;
    EXPECT_EQ(cache.cached_bytes(descriptor, half, half), half);
    EXPECT_EQ(cache.cached_bytes(descriptor, half + 10, 100), 100u);
    EXPECT_EQ(cache.cached_bytes(descriptor, file_bytes - 1, 1), 1u);
    EXPECT_EQ(cache.cached_bytes(descriptor, 0, half), 0u);
    EXPECT_LE(cache.cached_bytes(descriptor, half - half / 2, half), half / 2 + half / 8) << "of which half is cached";
    for (int i = 0; i < 5; ++i) {
      EXPECT_LT(cache.cached_bytes(descriptor, 0, half), half / 2) << "though it was looked at " << i << " times";
    }
  });
}

TEST_P(OthersFile, IsSampledWithoutFetchingMuchOfIt) {
  constexpr int times = 3;
  in_child([&] {
    const int descriptor = open_as_ordinary_user();
    PageCache cache;
    for (int i = 0; i < times; ++i) cache.cached_bytes(descriptor, 4096 * 8, half - 4096 * 8);
  });
  PageCache cache;
  EXPECT_LE(cache.cached_bytes(file_.descriptor(), 0, half).value(), half / 4);
}

TEST_P(OthersFile, IsAFallbackThatIsToldOnce) {
  in_child([&] {
    const int descriptor = open_as_ordinary_user();
    PageCache cache;
    for (int i = 0; i < 3; ++i) cache.cached_bytes(descriptor, 0, file_bytes);
    const std::string told = cache.refusal();
    EXPECT_EQ(told.find("mincore is used") != std::string::npos, GetParam()) << told;
    EXPECT_NE(told.find("sample"), std::string::npos) << told;
    EXPECT_EQ(told.find("sample"), told.rfind("sample")) << told;
  });
}

TEST_P(OthersFile, IsNotToldWhereReadsMustWait) {
  in_child([&] {
    const int descriptor = open_as_ordinary_user();
    refuse_calls({SYS_preadv2}, EOPNOTSUPP);
    PageCache cache;
    EXPECT_EQ(cache.cached_bytes(descriptor, 0, file_bytes), std::nullopt);
    EXPECT_NE(cache.refusal().find("as if nothing were cached"), std::string::npos) << cache.refusal();
  });
}

INSTANTIATE_TEST_SUITE_P(CachestatRefused, OthersFile, testing::Bool());

TEST(PageCache, AsksOncePerFileSystemWhatItIs) {
  const HalfCachedFile file;
  in_child([&] {
    PageCache cache;
    cache.cached_bytes(file.descriptor(), 0, half);
    install_filter({
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fstatfs, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    });
    cache.cached_bytes(file.descriptor(), 0, half);
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
