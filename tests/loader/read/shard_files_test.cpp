// Goal: shards are open while their extents are read, in whatever order; what is opened is what was validated, by
// whatever number; few descriptors are enough.
// Method: real files under a fake reader that counts what it knows; a plan of extents and what was validated made by
// hand; the test waits until nobody asks anything any more before it looks again.
#include "loader/read/shard_files.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <new>
#include <set>
#include <string>
#include <thread>

#include "loader/format/header_reader.hpp"
#include "sluice/error.hpp"
#include "tests/loader/support/lease.hpp"
#include "tests/loader/support/settle.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice {
namespace {

class CountingReader final : public Reader {
 public:
  ReaderKind kind() const noexcept override { return ReaderKind::null; }
  void use_slabs(std::span<std::byte>, std::vector<Fallback>&) override {}
  std::uint32_t add_file(int descriptor) override {
    if (adds_left-- == 0) throw std::bad_alloc();
    known.insert(static_cast<std::uint32_t>(descriptor));
    return static_cast<std::uint32_t>(descriptor);
  }
  void remove_file(std::uint32_t file) noexcept override { EXPECT_EQ(known.erase(file), 1u) << "it never knew it"; }
  void submit(const Read&) override {}
  void wait(std::vector<Done>&, bool) override {}

  std::set<std::uint32_t> known;
  int adds_left = -1;  // until one fails for want of memory
};

constexpr std::size_t header_bytes = 600;

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
    shard.data_offset = header_bytes;
    const std::vector<std::byte> bytes = noise(header_bytes);
    catalogue_->identities.push_back(
        {identity_of(found), header_digest({reinterpret_cast<const char*>(bytes.data()), bytes.size()})});
    for (std::uint32_t i = 0; i < extents; ++i) {
      Extent& extent = plan_.extents.emplace_back();
      extent.shard = static_cast<std::uint32_t>(catalogue_->shards.size() - 1);
    }
    return path;
  }

  void open_files(IoMode io = IoMode::buffered) {
    plan_.catalogue = catalogue_;
    files_ = std::make_unique<ShardFiles>(plan_, reader_, io, fallbacks_, asker_);
  }

  // The shard, once it is open; nullptr where it has to wait for an extent to be done.
  ShardFiles::File* opened(std::uint32_t shard) {
    // Each time that nobody is at it any more, it may be closing another one's turn, or having that checked first.
    constexpr int turns_most = 40;
    for (int turn = 0; turn < turns_most; ++turn) {
      if (ShardFiles::File* const file = files_->open(shard)) return file;
      settle(asker_.workers());
    }
    return nullptr;
  }

  // The extent has been read, and is checked.
  void end(std::uint32_t shard) {
    files_->done_with_extent(shard);
    while (files_->reads_checked() < files_->reads_done()) {
      files_->begin_check();
      settle(asker_.workers());
    }
  }

  ErrorCode error_of_opening(std::uint32_t shard) {
    return error_of(catalogue_->shards[shard].path, [&] { opened(shard); });
  }

  // Opens the shard and begins an extent of it; false where it has to wait.
  bool begin(std::uint32_t shard) {
    if (opened(shard) == nullptr) return false;
    files_->hold(shard);
    return true;
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
  Wakeup wakeup_;
  FileAsker asker_{wakeup_};
  std::unique_ptr<ShardFiles> files_;
};

TEST_F(ShardFilesTest, AreOpenFromTheFirstExtentToTheLast) {
  add_shard("a", 2);
  add_shard("b", 1);
  open_files();
  EXPECT_TRUE(reader_.known.empty());
  ShardFiles::File* const file = opened(0);
  ASSERT_NE(file, nullptr);
  const std::uint32_t number = file->buffered;
  EXPECT_EQ(reader_.known.count(number), 1u);
  EXPECT_EQ(opened(0), file);
  EXPECT_EQ(files_->find_open(0), file);
  files_->hold(0);
  end(0);
  EXPECT_EQ(reader_.known.count(number), 1u);
  files_->hold(0);
  end(0);
  EXPECT_EQ(reader_.known.count(number), 0u);
  EXPECT_EQ(files_->find_open(0), nullptr);
}

TEST_F(ShardFilesTest, SomeAreOpenedAheadOfTheirExtents) {
  for (std::uint32_t i = 0; i < 20; ++i) add_shard("s" + std::to_string(i), 1);
  open_files();
  for (int turn = 0; turn < 10; ++turn) {
    opened(0);
    settle(asker_.workers());
  }
  const std::size_t ahead = reader_.known.size() - 1;
  EXPECT_GT(ahead, 1u);
  EXPECT_LT(ahead, 10u);
  ASSERT_TRUE(begin(1));
  end(1);
  opened(2);
  settle(asker_.workers());
  opened(2);
  EXPECT_EQ(reader_.known.size(), ahead + 2) << "the second is closed, the first and the third are open";
}

TEST_F(ShardFilesTest, AreClosedAtTheEndWhateverIsLeft) {
  add_shard("a", 2);
  open_files(IoMode::automatic);
  const int descriptor = opened(0)->descriptor;
  files_.reset();
  EXPECT_TRUE(reader_.known.empty());
  EXPECT_EQ(fcntl(descriptor, F_GETFD), -1);
}

TEST_F(ShardFilesTest, AShardThatTheReaderCannotTakeIsClosedAgain) {
  add_shard("a", 1);
  open_files(IoMode::automatic);
  const int first_free = dup(STDERR_FILENO);
  close(first_free);
  for (reader_.adds_left = 0;; ++reader_.adds_left) {
    const int adds_left = reader_.adds_left;
    try {
      opened(0);
      EXPECT_GE(adds_left, 1);
      break;
    } catch (const std::bad_alloc&) {
      EXPECT_TRUE(reader_.known.empty());
      settle(asker_.workers());
      const int now_free = dup(STDERR_FILENO);
      close(now_free);
      EXPECT_EQ(now_free, first_free);
      reader_.adds_left = adds_left;
    }
  }
}

TEST_F(ShardFilesTest, AMissingShardIsNotFound) {
  const auto path = add_shard("a", 1);
  open_files();
  std::filesystem::remove(path);
  EXPECT_EQ(error_of_opening(0), ErrorCode::not_found);
}

TEST_F(ShardFilesTest, AShardThatWasReplacedHasChanged) {
  const auto path = add_shard("a", 1);
  open_files();
  std::filesystem::rename(folder_.write("other", noise(10'000, 2)), path);
  EXPECT_EQ(error_of_opening(0), ErrorCode::file_changed);
}

TEST_F(ShardFilesTest, AFifoInAShardsPlaceHasChangedAndDoesNotBlock) {
  const auto path = add_shard("a", 1);
  open_files();
  std::filesystem::remove(path);
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(error_of_opening(0), ErrorCode::file_changed);
}

TEST_F(ShardFilesTest, AShardThatIsTruncatedWhileItIsReadHasChanged) {
  const auto path = add_shard("a", 1);
  open_files();
  begin(0);
  ASSERT_EQ(truncate(path.c_str(), 100), 0);
  EXPECT_EQ(error_of(path, [this] { end(0); }), ErrorCode::file_changed);
}

TEST_F(ShardFilesTest, SayWhereAShardThatIsLongerOrShorterNowDiffers) {
  std::uint32_t shard = 0;
  for (const off_t bytes : {9'000, 11'000}) {
    const auto path = add_shard("s" + std::to_string(shard), 1);
    open_files();
    begin(shard);
    ASSERT_EQ(truncate(path.c_str(), bytes), 0);
    try {
      end(shard++);
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
  begin(0);
  end(0);
  begin(0);
  ASSERT_EQ(truncate(path.c_str(), 100), 0);
  EXPECT_EQ(error_of(path, [this] { end(0); }), ErrorCode::file_changed);
}

TEST_F(ShardFilesTest, ACheckIsOfWhatWasReadBeforeItBegan) {
  add_shard("a", 3);
  open_files();
  for (int i = 0; i < 3; ++i) begin(0);
  EXPECT_FALSE(files_->begin_check()) << "nothing has been read";
  files_->done_with_extent(0);
  EXPECT_EQ(files_->reads_checked(), 0u);
  EXPECT_TRUE(files_->begin_check());
  EXPECT_FALSE(files_->begin_check()) << "one is under way";
  files_->done_with_extent(0);
  settle(asker_.workers());
  EXPECT_EQ(files_->reads_checked(), 1u);
  EXPECT_EQ(files_->reads_done(), 2u);
  end(0);
  EXPECT_EQ(files_->reads_checked(), 3u);
}

TEST_F(ShardFilesTest, OneThatGivesItsDescriptorsAwayIsCheckedBefore) {
  const auto path = add_shard("a", 2);
  add_shard("b", 1);
  open_files();
  const DescriptorLimit limit(2);
  ASSERT_TRUE(begin(0));
  files_->done_with_extent(0);
  ASSERT_EQ(truncate(path.c_str(), 100), 0);
  EXPECT_EQ(error_of(path, [this] { opened(1); }), ErrorCode::file_changed);
}

TEST_F(ShardFilesTest, OneThatIsHeldKeepsItsDescriptors) {
  add_shard("a", 1);
  add_shard("b", 1);
  open_files();
  const DescriptorLimit limit(2);
  ASSERT_NE(opened(0), nullptr);
  files_->hold(0);
  EXPECT_EQ(opened(1), nullptr);
  files_->release(0);
  EXPECT_NE(opened(1), nullptr);
}

TEST_F(ShardFilesTest, AShardThatIsWrittenToWhileItIsReadHasChanged) {
  const auto path = add_shard("a", 1);
  open_files();
  begin(0);
  const timespec times[2] = {{0, UTIME_OMIT}, {1'000'000'000, 0}};  // as a write would, with no clock to wait for
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  EXPECT_EQ(error_of(path, [this] { end(0); }), ErrorCode::file_changed);
}

TEST_F(ShardFilesTest, AShardThatEndsEarlySaysWhere) {
  const auto path = add_shard("a", 1);
  open_files();
  opened(0);
  try {
    files_->throw_ended_early(0, 4321);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::file_changed);
    EXPECT_EQ(error.path(), path.string());
    EXPECT_EQ(error.offset(), 4321u);
    EXPECT_THAT(error.what(), testing::HasSubstr("10000 bytes"));
  }
}

// To open a file takes two descriptors for a moment.
TEST_F(ShardFilesTest, AShardWaitsForADescriptorThatAnotherWillGiveBack) {
  add_shard("a", 1);
  add_shard("b", 1);
  open_files();
  const DescriptorLimit limit(2);
  ASSERT_TRUE(begin(0));
  EXPECT_EQ(opened(1), nullptr);
  end(0);
  EXPECT_NE(opened(1), nullptr);
}

TEST_F(ShardFilesTest, AShardOfWhichNothingIsInFlightGivesItsDescriptorsToAnother) {
  add_shard("a", 2);
  add_shard("b", 1);
  open_files();
  const DescriptorLimit limit(2);
  ASSERT_TRUE(begin(0));
  end(0);
  ASSERT_TRUE(begin(1));
  EXPECT_EQ(reader_.known.size(), 1u);
  end(1);
  ASSERT_TRUE(begin(0)) << "its second extent";
  end(0);
  EXPECT_TRUE(reader_.known.empty());
}

// Extents come in the worst of orders, one of each shard in turn; and some shards are opened for nothing.
TEST_F(ShardFilesTest, AreReadInAnyOrderWithFewDescriptors) {
  constexpr std::uint32_t shards = 40;
  constexpr std::uint32_t extents = 5;
  for (std::uint32_t i = 0; i < shards; ++i) add_shard("s" + std::to_string(i), extents);
  const DescriptorLimit limit(7);
  open_files(IoMode::automatic);
  std::vector<std::uint32_t> in_flight;
  for (std::uint32_t i = 0; i < shards * extents; ++i) {
    const std::uint32_t shard = i * 7 % shards;
    if (i % 3 == 0) opened((shard + 1) % shards);
    while (!begin(shard)) {
      ASSERT_FALSE(in_flight.empty()) << "waits for nothing";
      end(in_flight.back());
      in_flight.pop_back();
    }
    in_flight.push_back(shard);
  }
  for (const std::uint32_t shard : in_flight) end(shard);
  files_.reset();
  EXPECT_TRUE(reader_.known.empty());
}

TEST_F(ShardFilesTest, LeaveTheProcessMostOfItsDescriptors) {
  constexpr std::uint32_t shards = 100;
  for (std::uint32_t i = 0; i < shards; ++i) add_shard("s" + std::to_string(i), 1);
  const DescriptorLimit limit(400);
  open_files();
  std::uint32_t begun = 0;
  while (begun < shards && begin(begun)) ++begun;
  // A quarter of them, two for each shard; how many were open before is this machine's.
  EXPECT_GT(begun, 40u);
  EXPECT_LT(begun, 60u);
}

TEST_F(ShardFilesTest, NoDescriptorAtAllIsAnErrorWithTheWayOut) {
  const auto path = add_shard("a", 1);
  open_files();
  const DescriptorLimit limit(0);
  EXPECT_EQ(error_of_opening(0), ErrorCode::io);
}

// Some file systems number a file anew whenever they look it up, and copies may bear each other's number.
TEST_F(ShardFilesTest, AShardWithAnotherNumberIsKnownByItsHeader) {
  const auto path = add_shard("a", 1);
  FileIdentity& validated = catalogue_->identities[0].file;
  ++validated.number;
  open_files(IoMode::automatic);
  ASSERT_TRUE(begin(0));
  EXPECT_TRUE(opened(0)->takes_direct || !fallbacks_.empty());
  end(0);

  catalogue_->identities[0].header_digest ^= 1;
  open_files();
  EXPECT_EQ(error_of_opening(0), ErrorCode::file_changed);
  EXPECT_TRUE(reader_.known.empty());
}

TEST_F(ShardFilesTest, AShardWhoseModeOrLinksChangedIsKnownByItsHeader) {
  const auto path = add_shard("a", 1);
  --catalogue_->identities[0].file.changed.seconds;
  open_files();
  EXPECT_NE(opened(0), nullptr);
  catalogue_->identities[0].header_digest ^= 1;
  open_files();
  EXPECT_EQ(error_of_opening(0), ErrorCode::file_changed);
}

TEST_F(ShardFilesTest, AShardOfAnotherSizeOrTimeHasChangedWhateverItsNumberAndHeader) {
  const std::vector<void (*)(FileIdentity&)> differences = {
      [](FileIdentity& file) { ++file.written.seconds; },
      [](FileIdentity& file) { ++file.written.nanoseconds; },
      [](FileIdentity& file) { ++file.bytes; },
      [](FileIdentity& file) {
        ++file.number;
        ++file.changed.seconds;
      },
  };
  for (std::size_t i = 0; i < differences.size(); ++i) {
    add_shard("s" + std::to_string(i), 1);
    differences[i](catalogue_->identities[i].file);
  }
  open_files();
  for (std::uint32_t i = 0; i < differences.size(); ++i) EXPECT_EQ(error_of_opening(i), ErrorCode::file_changed);
}

TEST_F(ShardFilesTest, AShardMayBearAnyDate) {
  const auto path = add_shard("a", 1);
  const timespec in_2300[2] = {{0, UTIME_OMIT}, {10'413'792'000, 999'999'999}};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), in_2300, 0), 0);
  struct stat found {};
  ASSERT_EQ(stat(path.c_str(), &found), 0);
  if (found.st_mtim.tv_sec != in_2300[1].tv_sec) GTEST_SKIP() << "this file system knows no such date";
  catalogue_->identities[0].file = identity_of(found);
  open_files();
  ASSERT_TRUE(begin(0));
  const timespec in_2301[2] = {{0, UTIME_OMIT}, {10'445'328'000, 999'999'999}};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), in_2301, 0), 0);
  EXPECT_EQ(error_of(path, [this] { end(0); }), ErrorCode::file_changed);
}

TEST_F(ShardFilesTest, AShardIsWaitedForWhileAnotherHoldsALease) {
  const auto path = add_shard("a", 1);
  open_files();
  const Lease lease(path);
  if (!lease.refusal().empty()) GTEST_SKIP() << lease.refusal();
  std::thread opens([this] { EXPECT_NE(opened(0), nullptr); });
  lease.wait_until_asked_for();
  lease.let_go();
  opens.join();
}

TEST_F(ShardFilesTest, DoNotKeepONonblock) {
  add_shard("a", 1);
  open_files(IoMode::automatic);
  const ShardFiles::File& file = *opened(0);
  EXPECT_EQ(fcntl(file.descriptor, F_GETFL) & O_NONBLOCK, 0);
  if (file.takes_direct) {
    EXPECT_EQ(fcntl(file.direct_descriptor, F_GETFL) & O_NONBLOCK, 0);
  }
}

TEST_F(ShardFilesTest, AShardThatRefusedDirectReadsIsNotAskedAgainWhenItIsOpenedAgain) {
  add_shard("a", 1);
  add_shard("b", 2);
  open_files(IoMode::automatic);
  if (!opened(1)->takes_direct) GTEST_SKIP() << "this file system refuses O_DIRECT";
  files_->refuse_direct(1, EINVAL);
  const DescriptorLimit limit(0);
  ASSERT_NE(opened(0), nullptr) << "takes the other one's descriptors";
  EXPECT_EQ(files_->find_open(1), nullptr);
  ASSERT_NE(opened(1), nullptr);
  EXPECT_FALSE(opened(1)->takes_direct);
}

TEST_F(ShardFilesTest, TakesDirectReadsUntilOneIsRefusedAndTellsOnce) {
  add_shard("a", 1);
  add_shard("b", 1);
  open_files(IoMode::automatic);
  ShardFiles::File* const file = opened(0);
  if (!file->takes_direct) GTEST_SKIP() << "this file system refuses O_DIRECT";
  opened(1);
  EXPECT_EQ(reader_.known.size(), 4u);
  EXPECT_TRUE(fallbacks_.empty());
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
  EXPECT_FALSE(opened(0)->takes_direct);
  ASSERT_EQ(fallbacks_.size(), 1u);
  EXPECT_THAT(fallbacks_[0].reason, testing::HasSubstr("65536"));
}

TEST_F(ShardFilesTest, BufferedReadsOpenNothingElse) {
  add_shard("a", 1);
  open_files(IoMode::buffered);
  EXPECT_FALSE(opened(0)->takes_direct);
  EXPECT_EQ(reader_.known.size(), 1u);
}

}  // namespace
}  // namespace sluice
