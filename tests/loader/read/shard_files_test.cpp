// Goal: shards are open from their first extent to their last, are checked both times to be what was validated, and
// descriptors that run out are waited for.
// Method: real files under a fake reader that counts what it knows; a plan of extents made by hand.
#include "loader/read/shard_files.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>

#include "sluice/error.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice {
namespace {

class CountingReader final : public Reader {
 public:
  ReaderKind kind() const noexcept override { return ReaderKind::null; }
  void use_slabs(std::span<std::byte>, std::vector<Fallback>&) override {}
  std::uint32_t add_file(int descriptor) override {
    known.insert(static_cast<std::uint32_t>(descriptor));
    return static_cast<std::uint32_t>(descriptor);
  }
  void remove_file(std::uint32_t file) noexcept override { EXPECT_EQ(known.erase(file), 1u) << "it never knew it"; }
  void submit(const Read&) override {}
  void wait(std::vector<Done>&, bool) override {}

  std::set<std::uint32_t> known;
};

class ShardFilesTest : public testing::Test {
 protected:
  // Adds a shard of some bytes, of which `extents` extents are wanted, as Checkpoint::open would have found it.
  std::filesystem::path add_shard(const std::string& name, std::uint32_t extents) {
    std::filesystem::path path = folder_.write(name, noise(10'000));
    struct stat found {};
    EXPECT_EQ(stat(path.c_str(), &found), 0);
    Shard& shard = catalogue_->shards.emplace_back();
    shard.path = path;
    shard.bytes = static_cast<std::uint64_t>(found.st_size);
    shard.device = found.st_dev;
    shard.inode = found.st_ino;
    shard.modified_ns = found.st_mtim.tv_sec * 1'000'000'000 + found.st_mtim.tv_nsec;
    for (std::uint32_t i = 0; i < extents; ++i) {
      Extent& extent = plan_.extents.emplace_back();
      extent.shard = static_cast<std::uint32_t>(catalogue_->shards.size() - 1);
    }
    return path;
  }

  void open_files(IoMode io = IoMode::buffered) {
    plan_.catalogue = catalogue_;
    files_ = std::make_unique<ShardFiles>(plan_, reader_, io, fallbacks_);
  }

  // The code of what `action` throws; it must name the shard.
  template <typename Action>
  ErrorCode error_of(const std::filesystem::path& path, Action&& action) {
    try {
      action();
    } catch (const Error& error) {
      EXPECT_EQ(error.path(), path.string());
      EXPECT_FALSE(error.hint().empty());
      return error.code();
    }
    ADD_FAILURE() << "nothing was thrown";
    return {};
  }

  TemporaryFolder folder_;
  std::shared_ptr<Catalogue> catalogue_ = std::make_shared<Catalogue>();
  PlanData plan_;
  CountingReader reader_;
  std::vector<Fallback> fallbacks_;
  std::unique_ptr<ShardFiles> files_;
};

TEST_F(ShardFilesTest, AreOpenFromTheFirstExtentToTheLast) {
  add_shard("a", 2);
  add_shard("b", 1);
  open_files();
  EXPECT_TRUE(reader_.known.empty());
  ShardFiles::File* const file = files_->open(0);
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(reader_.known.count(file->buffered), 1u);
  EXPECT_EQ(files_->open(0), file);
  EXPECT_EQ(reader_.known.size(), 1u);
  files_->done_with_extent(0);
  EXPECT_EQ(reader_.known.size(), 1u);
  files_->done_with_extent(0);
  EXPECT_TRUE(reader_.known.empty());
}

TEST_F(ShardFilesTest, AreClosedAtTheEndWhateverIsLeft) {
  add_shard("a", 2);
  open_files(IoMode::automatic);
  const int descriptor = files_->open(0)->descriptor;
  files_.reset();
  EXPECT_TRUE(reader_.known.empty());
  EXPECT_EQ(fcntl(descriptor, F_GETFD), -1);
}

TEST_F(ShardFilesTest, AMissingShardIsNotFound) {
  const auto path = add_shard("a", 1);
  open_files();
  std::filesystem::remove(path);
  EXPECT_EQ(error_of(path, [this] { files_->open(0); }), ErrorCode::not_found);
}

TEST_F(ShardFilesTest, AShardThatWasReplacedHasChanged) {
  const auto path = add_shard("a", 1);
  open_files();
  std::filesystem::rename(folder_.write("other", noise(10'000, 2)), path);
  EXPECT_EQ(error_of(path, [this] { files_->open(0); }), ErrorCode::file_changed);
}

TEST_F(ShardFilesTest, AFifoInAShardsPlaceHasChangedAndDoesNotBlock) {
  const auto path = add_shard("a", 1);
  open_files();
  std::filesystem::remove(path);
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(error_of(path, [this] { files_->open(0); }), ErrorCode::file_changed);
}

TEST_F(ShardFilesTest, AShardThatIsTruncatedWhileItIsReadHasChanged) {
  const auto path = add_shard("a", 1);
  open_files();
  files_->open(0);
  ASSERT_EQ(truncate(path.c_str(), 100), 0);
  EXPECT_EQ(error_of(path, [this] { files_->done_with_extent(0); }), ErrorCode::file_changed);
}

TEST_F(ShardFilesTest, SayWhereAShardThatIsLongerOrShorterNowDiffers) {
  const auto path = add_shard("a", 1);
  open_files();
  for (const off_t bytes : {9'000, 11'000}) {
    files_->open(0);
    ASSERT_EQ(truncate(path.c_str(), bytes), 0);
    try {
      files_->done_with_extent(0);
      FAIL() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.offset(), std::min<std::uint64_t>(static_cast<std::uint64_t>(bytes), 10'000));
      EXPECT_THAT(error.what(), testing::HasSubstr("had 10000"));
    }
  }
}

TEST_F(ShardFilesTest, AreCheckedAfterEveryExtent) {
  const auto path = add_shard("a", 3);
  open_files();
  files_->open(0);
  files_->done_with_extent(0);
  ASSERT_EQ(truncate(path.c_str(), 100), 0);
  EXPECT_EQ(error_of(path, [this] { files_->done_with_extent(0); }), ErrorCode::file_changed);
}

TEST_F(ShardFilesTest, AShardThatIsWrittenToWhileItIsReadHasChanged) {
  const auto path = add_shard("a", 1);
  open_files();
  files_->open(0);
  const timespec times[2] = {{0, UTIME_OMIT}, {1'000'000'000, 0}};  // as a write would, with no clock to wait for
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  EXPECT_EQ(error_of(path, [this] { files_->done_with_extent(0); }), ErrorCode::file_changed);
}

TEST_F(ShardFilesTest, AShardThatEndsEarlySaysWhere) {
  const auto path = add_shard("a", 1);
  open_files();
  files_->open(0);
  try {
    files_->throw_ended_early(0, 4321);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::file_changed);
    EXPECT_EQ(error.path(), path.string());
    EXPECT_EQ(error.offset(), 4321u);
    EXPECT_THAT(error.what(), testing::HasSubstr("10000 bytes"));
  }
}

// Lowers the limit so that `count` more descriptors can be had, and puts it back.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(unsigned count) {
    getrlimit(RLIMIT_NOFILE, &before_);
    const int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(next);
    rlimit lowered = before_;
    lowered.rlim_cur = static_cast<rlim_t>(next) + count;
    setrlimit(RLIMIT_NOFILE, &lowered);
  }
  ~DescriptorLimit() { setrlimit(RLIMIT_NOFILE, &before_); }
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;

 private:
  rlimit before_{};
};

TEST_F(ShardFilesTest, AShardWaitsForADescriptorThatAnotherWillGiveBack) {
  add_shard("a", 1);
  add_shard("b", 1);
  open_files();
  const DescriptorLimit limit(1);
  ASSERT_NE(files_->open(0), nullptr);
  EXPECT_EQ(files_->open(1), nullptr);
  files_->done_with_extent(0);
  EXPECT_NE(files_->open(1), nullptr);
}

TEST_F(ShardFilesTest, NoDescriptorAtAllIsAnErrorWithTheWayOut) {
  const auto path = add_shard("a", 1);
  open_files();
  const DescriptorLimit limit(0);
  EXPECT_EQ(error_of(path, [this] { files_->open(0); }), ErrorCode::io);
}

TEST_F(ShardFilesTest, TakesDirectReadsUntilOneIsRefusedAndTellsOnce) {
  add_shard("a", 1);
  add_shard("b", 1);
  open_files(IoMode::automatic);
  ShardFiles::File* const file = files_->open(0);
  if (!file->takes_direct) GTEST_SKIP() << "this file system refuses O_DIRECT";
  EXPECT_EQ(reader_.known.size(), 2u);
  EXPECT_TRUE(fallbacks_.empty());
  files_->open(1);
  files_->refuse_direct(0, EINVAL);
  files_->refuse_direct(0, EINVAL);
  files_->refuse_direct(1, EINVAL);
  EXPECT_FALSE(file->takes_direct);
  ASSERT_EQ(fallbacks_.size(), 1u);
  EXPECT_EQ(fallbacks_[0].what, "O_DIRECT");
  EXPECT_EQ(reader_.known.size(), 4u) << "reads in flight still need the descriptors";
}

TEST_F(ShardFilesTest, AFileSystemThatAsksForMoreThanPagesIsReadBuffered) {
  add_shard("a", 1);
  catalogue_->shards[0].direct_offset_alignment = 65536;
  open_files(IoMode::direct);
  EXPECT_FALSE(files_->open(0)->takes_direct);
  ASSERT_EQ(fallbacks_.size(), 1u);
  EXPECT_THAT(fallbacks_[0].reason, testing::HasSubstr("65536"));
}

TEST_F(ShardFilesTest, BufferedReadsOpenNothingElse) {
  add_shard("a", 1);
  open_files(IoMode::buffered);
  EXPECT_FALSE(files_->open(0)->takes_direct);
  EXPECT_EQ(reader_.known.size(), 1u);
}

}  // namespace
}  // namespace sluice
