// Goal: loads are right, and tell how they read, on file systems that take direct reads, that keep everything in
// memory, that lie over another, and that number files as they like; and whatever the length of a file leaves beyond
// its last block. Method: tmpfs, overlayfs and FUSE in a mount namespace of the test's own; shards of every length
// around 512 and 4096 bytes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tests/fallbacks/fuse_mount.hpp"
#include "tests/fallbacks/mounts.hpp"
#include "tests/fallbacks/whole_load.hpp"
#include "tests/loader/support/sanitized.hpp"
#include "tests/loader/support/shard_builder.hpp"

namespace sluice {
namespace {

namespace fs = std::filesystem;

Options options_with(IoMode io, ReaderKind reader = ReaderKind::automatic) {
  Options options = small_options();
  options.io = io;
  options.reader = reader;
  return options;
}

// A folder on tmpfs: one that is mounted, or one of the machine's.
class MemoryFolder {
 public:
  MemoryFolder() {
    folder_ = std::make_unique<TemporaryFolder>();
    mount_ = std::make_unique<Mount>("tmpfs", folder_->path());
    if (mount_->refusal().empty()) return;
    refusal_ = mount_->refusal();
    struct statfs about {};
    if (statfs("/dev/shm", &about) != 0 || about.f_type != TMPFS_MAGIC) return;
    folder_ = std::make_unique<TemporaryFolder>("/dev/shm");
    refusal_.clear();
  }

  const TemporaryFolder& folder() const { return *folder_; }
  const std::string& refusal() const { return refusal_; }

 private:
  std::unique_ptr<TemporaryFolder> folder_;
  std::unique_ptr<Mount> mount_;  // after the folder: it goes first
  std::string refusal_;
};

TEST(Tmpfs, IsCopiedOutOfMemory) {
  const MemoryFolder memory;
  if (!memory.refusal().empty()) GTEST_SKIP() << memory.refusal();
  write_shard(memory.folder(), "a.safetensors", small_model, 3);
  for (const Target& target : targets) {
    for (const IoMode io : {IoMode::automatic, IoMode::buffered}) {
      const Stats stats = load_whole(memory.folder().path(), small_model, target, options_with(io));
      EXPECT_STREQ(stats.io(), "buffered");
    }
  }
}

// Linux 6.6 and newer take direct reads of it, older ones refuse to open it so.
TEST(Tmpfs, IsReadWhereDirectReadsAreAskedFor) {
  const MemoryFolder memory;
  if (!memory.refusal().empty()) GTEST_SKIP() << memory.refusal();
  const bool direct = takes_direct_reads(memory.folder());
  write_shard(memory.folder(), "a.safetensors", small_model);
  for (const Target& target : targets) {
    const Stats stats = load_whole(memory.folder().path(), small_model, target, options_with(IoMode::direct));
    EXPECT_EQ(stats.direct_bytes > 0, direct);
    EXPECT_EQ(reason_for(stats, "O_DIRECT").empty(), direct);
  }
}

// An overlay over a folder of temporary files.
class Overlay : public testing::Test {
 protected:
  void SetUp() override {
    if (!takes_direct_reads(lower_)) GTEST_SKIP() << "the folder of temporary files takes no direct reads";
    write_shard(lower_, "a.safetensors", small_model);
    fs::create_directory(below_.path() / "empty");
    const std::string options = "lowerdir=" + lower_.path().string() + ':' + (below_.path() / "empty").string();
    mount_ = std::make_unique<Mount>("overlay", merged_.path(), options);
    if (!mount_->refusal().empty()) GTEST_SKIP() << mount_->refusal();
  }

  const TemporaryFolder lower_;
  const TemporaryFolder below_;
  const TemporaryFolder merged_;
  std::unique_ptr<Mount> mount_;
};

TEST_F(Overlay, IsReadDirectlyWhereTheFolderBelowIs) {
  for (const Target& target : targets) {
    drop_from_page_cache(lower_.path());
    const Stats stats = load_whole(merged_.path(), small_model, target);
    EXPECT_GT(stats.direct_bytes, 0u);
    EXPECT_EQ(reason_for(stats, "O_DIRECT"), "");
  }
}

TEST_F(Overlay, IsCopiedOutOfThePageCacheOfTheFolderBelow) {
  for (const Target& target : targets) {
    load_whole(merged_.path(), small_model, target, options_with(IoMode::buffered));
    const Stats stats = load_whole(merged_.path(), small_model, target);
    EXPECT_STREQ(stats.io(), "buffered");
  }
}

// Two shards without an index, behind FUSE.
class Fuse : public testing::Test {
 protected:
  void mount(Numbers numbers) {
    for (const char* const name : {"a", "b"}) {
      const std::vector<TestTensor> tensors = {{std::string(name) + ".large", f32, {66'000}},
                                               {std::string(name) + ".end", bf16, {33}}};
      write_shard(folder_, std::string(name) + ".safetensors", tensors);
      set_date(folder_.path() / (std::string(name) + ".safetensors"));
      tensors_.insert(tensors_.end(), tensors.begin(), tensors.end());
    }
    mount_ = std::make_unique<FuseMount>(folder_.path(), place_.path(), numbers);
    if (!mount_->refusal().empty()) GTEST_SKIP() << mount_->refusal();
  }

  static void set_date(const fs::path& file) {
    const timespec times[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
    ASSERT_EQ(utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
  }

  const fs::path& path() const { return place_.path(); }

  const TemporaryFolder folder_;
  const TemporaryFolder place_;
  std::unique_ptr<FuseMount> mount_;
  std::vector<TestTensor> tensors_;
};

TEST_F(Fuse, ThatNumbersFilesAnewEachTimeIsReadLikeAnyOther) {
  mount(Numbers::anew_each_time);
  if (IsSkipped()) return;
  for (const Target& target : targets) {
    for (const IoMode io : {IoMode::automatic, IoMode::direct, IoMode::buffered}) {
      const Stats stats = load_whole(path(), tensors_, target, options_with(io));
      EXPECT_EQ(reason_for(stats, "O_DIRECT"), "");
    }
  }
}

TEST_F(Fuse, ThatNumbersFilesAnewEachTimeDoesNotHideThatOneWasReplaced) {
  mount(Numbers::anew_each_time);
  if (IsSkipped()) return;
  const Options options = small_options();
  const Plan plan = plan_for(path(), targets[0], options);
  const fs::path shard = folder_.path() / "b.safetensors";
  write_shard(folder_, "other", {{"c.large", f32, {66'000}}, {"c.end", bf16, {33}}});
  fs::rename(folder_.path() / "other", shard);
  set_date(shard);
  Engine engine(options);
  EXPECT_EQ(error_of([&] { engine.start(plan).wait(); }).code(), ErrorCode::file_changed);
}

TEST_F(Fuse, WhoseFilesAllBearOneNumberHidesNoShard) {
  mount(Numbers::all_the_same);
  if (IsSkipped()) return;
  EXPECT_EQ(Checkpoint::open(path()).shards().size(), 2u);
  load_whole(path(), tensors_, targets[0]);
}

// Shards whose lengths leave every remainder around 512 and 4096 bytes: small ones of little more than a header, and
// ones with a tensor that is read in place. Sanitizers make loads slow: they see every fourth multiple of 512.
std::vector<TestTensor> write_tails(const TemporaryFolder& folder) {
  std::vector<TestTensor> all;
  for (const std::uint64_t elements : {20u, 140'000u}) {
    for (unsigned multiple = 0; multiple < 4096; multiple += sanitized ? 2048 : 512) {
      for (const unsigned remainder : {multiple + 511, multiple + 512, multiple + 513}) {
        const std::string name = std::to_string(elements) + '.' + std::to_string(remainder);
        const std::vector<TestTensor> tensors = {{name, bf16, {elements}}, {name + ".end", bf16, {3}}};
        const std::string file = name + ".safetensors";
        const auto bytes = fs::file_size(write_shard(folder, file, tensors));
        write_shard(folder, file, tensors, static_cast<unsigned>((remainder + 4096 - bytes % 4096) % 4096));
        EXPECT_EQ(fs::file_size(folder.path() / file) % 4096, remainder % 4096);
        all.insert(all.end(), tensors.begin(), tensors.end());
      }
    }
  }
  return all;
}

class Tails : public testing::TestWithParam<ReaderKind> {
 protected:
  void SetUp() override {
    if (GetParam() == ReaderKind::uring && !ring_refusal().empty()) GTEST_SKIP() << ring_refusal();
  }
};

TEST_P(Tails, AreReadDirectly) {
  const TemporaryFolder folder;
  if (!takes_direct_reads(folder)) GTEST_SKIP() << "the folder of temporary files takes no direct reads";
  const std::vector<TestTensor> tensors = write_tails(folder);
  for (const Target& target : targets) {
    const Stats stats = load_whole(folder.path(), tensors, target, options_with(IoMode::direct, GetParam()));
    EXPECT_EQ(reason_for(stats, "O_DIRECT"), "");
    // Casting, an element that straddles a block is not cut, and what follows it begins off any block.
    EXPECT_GT(stats.direct_bytes, stats.bytes / 4);
    if (!target.cast) {
      EXPECT_STREQ(stats.io(), "direct");
    }
  }
}

TEST_P(Tails, AreReadOutOfMemory) {
  const MemoryFolder memory;
  if (!memory.refusal().empty()) GTEST_SKIP() << memory.refusal();
  const std::vector<TestTensor> tensors = write_tails(memory.folder());
  for (const Target& target : targets) {
    const Stats stats =
        load_whole(memory.folder().path(), tensors, target, options_with(IoMode::automatic, GetParam()));
    EXPECT_STREQ(stats.io(), "buffered");
  }
}

INSTANTIATE_TEST_SUITE_P(Readers, Tails, testing::Values(ReaderKind::uring, ReaderKind::pread));

}  // namespace
}  // namespace sluice
