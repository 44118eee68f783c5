// Goal: whatever the system refuses, a load delivers every byte and its statistics name the way taken and the reason.
// Method: seccomp filters and limits in a child process, then whole loads: as they are, cast, to the null device.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <cerrno>
#include <functional>
#include <ostream>
#include <string>

#include "tests/fallbacks/whole_load.hpp"
#include "tests/loader/support/refusals.hpp"
#include "tests/loader/support/sanitized.hpp"

namespace sluice {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr long cachestat_call = 451;

struct Refusal {
  const char* name;
  std::function<void()> impose;
  std::string what;  // of the fallback that must be told
  testing::Matcher<std::string> reason;
  ReaderKind reader = ReaderKind::uring;  // that must have run
  bool direct = true;                     // whether direct reads must come of it

  friend void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.name; }
};

void refuse_ring(int error) {
  refuse_calls({SYS_io_uring_setup}, error);
}

void refuse_registering(unsigned operation, int error) {
  refuse_call_where(SYS_io_uring_register, 1, Argument::equals, operation, error);
}

void lock_little_memory() {
  become_ordinary_user();
  limit(RLIMIT_MEMLOCK, 64 << 10);
}

const auto ring_reason = AnyOf(HasSubstr("seccomp"), HasSubstr("sysctl"));
const auto mincore_reason = HasSubstr("mincore is used instead");

std::vector<Refusal> refusals() {
  return {
      {"RingNotPermitted", [] { refuse_ring(EPERM); }, "io_uring", ring_reason, ReaderKind::pread},
      {"RingNotKnown", [] { refuse_ring(ENOSYS); }, "io_uring", HasSubstr("knows no io_uring"), ReaderKind::pread},
      {"RingWithoutMemory", [] { refuse_ring(ENOMEM); }, "io_uring", HasSubstr("ulimit -l"), ReaderKind::pread},
      {"RegisteringNotPermitted", [] { refuse_calls({SYS_io_uring_register}, EPERM); }, "io_uring",
       HasSubstr("refuses io_uring_register"), ReaderKind::pread},
      {"BuffersNotPermitted", [] { refuse_registering(IORING_REGISTER_BUFFERS2, EPERM); }, "registered buffers",
       HasSubstr("not permitted")},
      {"BuffersWithoutMemory", [] { refuse_registering(IORING_REGISTER_BUFFERS_UPDATE, ENOMEM); }, "registered buffers",
       HasSubstr("ulimit -l")},
      {"BuffersOfAnOrdinaryUser", lock_little_memory, "registered buffers", HasSubstr("ulimit -l")},
      {"FilesNotKnown", [] { refuse_registering(IORING_REGISTER_FILES2, EINVAL); }, "registered files",
       HasSubstr("Linux 5.19")},
      {"DirectNotOpened", [] { refuse_call_where(SYS_openat, 2, Argument::has_any_bit_of, O_DIRECT, EINVAL); },
       "O_DIRECT", HasSubstr("open: Invalid argument"), ReaderKind::uring, false},
      {"CachestatNotKnown", [] { refuse_calls({cachestat_call}, ENOSYS); }, "cachestat", mincore_reason},
      {"CachestatNotPermitted", [] { refuse_calls({cachestat_call}, EPERM); }, "cachestat", mincore_reason},
      {"PageCacheNotTold",
       [] {
         refuse_calls({cachestat_call, SYS_mincore}, ENOSYS);
       },
       "cachestat", mincore_reason},
  };
}

// Sanitizers make children slow to start: they see the cast alone, which goes the longest way.
const std::vector<Target> targets_tried = sanitized ? std::vector{targets[1]} : targets;

class Refused : public testing::TestWithParam<Refusal> {};

void open_to_ordinary_users(const TemporaryFolder& folder) {
  std::filesystem::permissions(folder.path(), std::filesystem::perms(0755));
}

TEST_P(Refused, IsToldAndEveryByteIsDelivered) {
  const Refusal& refusal = GetParam();
  if (refusal.reader == ReaderKind::uring && !ring_refusal().empty()) GTEST_SKIP() << ring_refusal();
  const TemporaryFolder folder;
  if (!takes_direct_reads(folder)) GTEST_SKIP() << "the folder of temporary files takes no direct reads";
  const std::filesystem::path shard = write_shard(folder, "a.safetensors", small_model);
  open_to_ordinary_users(folder);
  if (geteuid() == 0) {
    ASSERT_EQ(chown(shard.c_str(), ordinary_user, ordinary_user), 0);  // the kernel tells it of all that is cached
  }
  for (const Target& target : targets_tried) {
    drop_from_page_cache(folder.path());
    in_child([&] {
      refusal.impose();
      const Stats stats = load_whole(folder.path(), small_model, target);
      EXPECT_EQ(stats.reader, refusal.reader);
      EXPECT_EQ(stats.direct_bytes > 0, refusal.direct);
      EXPECT_THAT(reason_for(stats, refusal.what), refusal.reason);
      EXPECT_EQ(stats.fallbacks.size(), 1u) << "nothing else was refused";
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Fallbacks, Refused, testing::ValuesIn(refusals()),
                         [](const auto& refusal) { return refusal.param.name; });

TEST(Refused, WhatIsCachedOfOthersFilesIsCopiedOutOfThePageCacheAllTheSame) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to own a file that an ordinary user reads";
  const TemporaryFolder folder;
  if (!takes_direct_reads(folder)) GTEST_SKIP() << "the folder of temporary files takes no direct reads";
  write_shard(folder, "a.safetensors", small_model);
  open_to_ordinary_users(folder);
  Options buffered = small_options();
  buffered.io = IoMode::buffered;
  load_whole(folder.path(), small_model, targets[0], buffered);
  in_child([&] {
    become_ordinary_user();
    const Stats stats = load_whole(folder.path(), small_model, targets[0]);
    EXPECT_EQ(stats.direct_bytes, 0u);
    EXPECT_THAT(reason_for(stats, "cachestat"), HasSubstr("sample"));
  });
  drop_from_page_cache(folder.path());
  in_child([&] {
    become_ordinary_user();
    EXPECT_GT(load_whole(folder.path(), small_model, targets[0]).direct_bytes, 0u);
  });
}

TEST(NotRefused, NothingIsTold) {
  if (!ring_refusal().empty()) GTEST_SKIP() << ring_refusal();
  const TemporaryFolder folder;
  if (!takes_direct_reads(folder)) GTEST_SKIP() << "the folder of temporary files takes no direct reads";
  write_shard(folder, "a.safetensors", small_model);
  for (const Target& target : targets_tried) {
    drop_from_page_cache(folder.path());
    in_child([&] {
      const Stats stats = load_whole(folder.path(), small_model, target);
      EXPECT_EQ(stats.reader, ReaderKind::uring);
      EXPECT_GT(stats.direct_bytes, 0u);
      for (const Fallback& fallback : stats.fallbacks) ADD_FAILURE() << fallback.what << ": " << fallback.reason;
    });
  }
}

// The load takes a descriptor for its eventfd, one to look at the shard and one to read it buffered; the one for direct
// reads takes the place of the second, which is closed by then.
void refuse_direct_reads() {
  int descriptors[2] = {};
  for (int& descriptor : descriptors) descriptor = dup(STDERR_FILENO);
  for (const int descriptor : descriptors) close(descriptor);
  refuse_call_where(SYS_pread64, 0, Argument::equals, static_cast<unsigned>(descriptors[1]), EINVAL);
}

TEST(Refused, DirectReadsAreMadeBuffered) {
  const TemporaryFolder folder;
  if (!takes_direct_reads(folder)) GTEST_SKIP() << "the folder of temporary files takes no direct reads";
  write_shard(folder, "a.safetensors", small_model);
  Options options = small_options();
  options.io = IoMode::direct;
  options.reader = ReaderKind::pread;
  for (const Target& target : targets_tried) {
    if (target.device == cuda(0)) continue;  // the simulator has descriptors of its own
    in_child([&] {
      const Plan plan = plan_for(folder.path(), target, options);
      refuse_direct_reads();
      const Stats stats = load_whole(plan, small_model, target, options);
      EXPECT_EQ(stats.direct_bytes, 0u);
      EXPECT_THAT(reason_for(stats, "O_DIRECT"), HasSubstr("read: Invalid argument"));
      EXPECT_EQ(stats.fallbacks.size(), 1u) << "nothing else was refused";
    });
  }
}

// Linux before 5.14: memory is touched page by page instead; no way of reading changes, so nothing is told.
TEST(Refused, PopulatingIsDoneByHand) {
  const TemporaryFolder folder;
  write_shard(folder, "a.safetensors", small_model);
  drop_from_page_cache(folder.path());
  in_child([&] {
    constexpr unsigned madv_populate_write = 23;
    refuse_call_where(SYS_madvise, 2, Argument::equals, madv_populate_write, EINVAL);
    load_whole(folder.path(), small_model, targets[0]);
  });
}

// Files that the ring's table cannot take are read by their descriptors.
TEST(Refused, FilesThatTheRingForgetsAreReadByDescriptor) {
  if (!ring_refusal().empty()) GTEST_SKIP() << ring_refusal();
  const TemporaryFolder folder;
  write_shard(folder, "a.safetensors", small_model);
  drop_from_page_cache(folder.path());
  for (const Target& target : targets_tried) {
    in_child([&] {
      refuse_registering(IORING_REGISTER_FILES_UPDATE, EPERM);
      EXPECT_EQ(load_whole(folder.path(), small_model, target).reader, ReaderKind::uring);
    });
  }
}

// Three hundred shards, and a load of them in a child that may have `free` more descriptors.
class FewDescriptors : public testing::Test {
 protected:
  FewDescriptors() {
    for (int i = 0; i < 300; ++i) {
      const std::string name = "shard" + std::to_string(i);
      tensors_.push_back({name, bf16, {1000}});
      write_shard(folder_, name + ".safetensors", {tensors_.back()});
    }
  }

  void SetUp() override {
    if (sanitized) GTEST_SKIP() << "the sanitizer needs a pipe of its own to look at memory";
  }

  template <typename Check>
  void load_with(unsigned free, const Options& options, const Check& check) const {
    for (const Target& target : targets_tried) {
      if (target.device == cuda(0)) continue;  // the simulator has descriptors of its own
      in_child([&] {
        rlim_t most = 0;
        for (unsigned found = 0; found < free; ++most) found += fcntl(static_cast<int>(most), F_GETFD) < 0 ? 1 : 0;
        limit(RLIMIT_NOFILE, most);
        check(load_whole(folder_.path(), tensors_, target, options));
      });
    }
  }

  const TemporaryFolder folder_;
  std::vector<TestTensor> tensors_;
};

TEST_F(FewDescriptors, AreEnoughForManyShards) {
  if (!ring_refusal().empty()) GTEST_SKIP() << ring_refusal();
  load_with(12, small_options(), [](const Stats& stats) {
    EXPECT_EQ(stats.reader, ReaderKind::uring);
    EXPECT_THAT(reason_for(stats, "registered files"), HasSubstr("ulimit -n"));
  });
}

TEST_F(FewDescriptors, AreEnoughForDirectReads) {
  if (!takes_direct_reads(folder_)) GTEST_SKIP() << "the folder of temporary files takes no direct reads";
  Options options = small_options();
  options.reader = ReaderKind::pread;
  options.io = IoMode::direct;
  for (const unsigned free : {3u, 4u, 6u}) {  // the engine's, and two for a shard
    load_with(free, options, [](const Stats& stats) {
      EXPECT_EQ(reason_for(stats, "O_DIRECT"), "");
      EXPECT_GT(stats.direct_bytes, 0u);
    });
  }
}

}  // namespace
}  // namespace sluice
