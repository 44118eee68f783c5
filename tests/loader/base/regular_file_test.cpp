// Goal: a regular file is opened as it is, whoever holds a lease on it and whether or not there is a /proc; nothing
// else is ever opened, and nothing waits for ever. Method: files, named pipes and leases in a temporary folder; a mount
// namespace in which /proc is empty.
#include "loader/base/regular_file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "tests/fallbacks/mounts.hpp"
#include "tests/loader/support/lease.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice {
namespace {

namespace fs = std::filesystem;

// Each test runs twice: as the machine is, and without /proc.
class RegularFile : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (has_proc()) return;
    no_proc_ = std::make_unique<Mount>("tmpfs", "/proc");
    if (!no_proc_->refusal().empty()) GTEST_SKIP() << no_proc_->refusal();
  }
  void TearDown() override {
    if (descriptor_ >= 0) close(descriptor_);
  }

  static bool has_proc() { return GetParam(); }

  OpenedFile open_file(const fs::path& path) {
    const OpenedFile file = open_regular_file(path);
    descriptor_ = file.descriptor;
    return file;
  }

  TemporaryFolder folder_;
  std::unique_ptr<Mount> no_proc_;
  int descriptor_ = -1;
};

TEST_P(RegularFile, IsOpenedForReading) {
  const fs::path path = folder_.write("a", noise(5000));
  const OpenedFile file = open_file(path);
  ASSERT_GE(file.descriptor, 0);
  EXPECT_EQ(file.error, 0);
  EXPECT_EQ(file.status.st_size, 5000);
  EXPECT_EQ(fcntl(file.descriptor, F_GETFL) & (O_ACCMODE | O_PATH), O_RDONLY);
  EXPECT_EQ(fcntl(file.descriptor, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  char byte = 0;
  EXPECT_EQ(pread(file.descriptor, &byte, 1, 4999), 1);
}

TEST_P(RegularFile, DoesNotKeepONonblock) {
  const fs::path path = folder_.write("a", noise(5000));
  const OpenedFile file = open_file(path);
  ASSERT_GE(file.descriptor, 0);
  EXPECT_EQ(fcntl(file.descriptor, F_GETFL) & O_NONBLOCK, 0);
  const int again = open_once_more(file.descriptor, path, 0);
  ASSERT_GE(again, 0);
  EXPECT_EQ(fcntl(again, F_GETFL) & O_NONBLOCK, 0);
  close(again);
}

TEST_P(RegularFile, IsOpenedOnceMoreWithOtherFlags) {
  const fs::path path = folder_.write("a", noise(5000));
  const OpenedFile file = open_file(path);
  ASSERT_GE(file.descriptor, 0);
  const int again = open_once_more(file.descriptor, path, O_DIRECT);
  if (again < 0 && errno == EINVAL) GTEST_SKIP() << "this file system refuses O_DIRECT";
  ASSERT_GE(again, 0);
  EXPECT_EQ(fcntl(again, F_GETFL) & O_DIRECT, O_DIRECT);
  EXPECT_EQ(fcntl(again, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  EXPECT_EQ(fcntl(file.descriptor, F_GETFL) & O_DIRECT, 0);
  close(again);
}

TEST_P(RegularFile, IsNeverMistakenForWhatTookItsPlace) {
  const fs::path path = folder_.write("a", noise(5000));
  const OpenedFile file = open_file(path);
  ASSERT_GE(file.descriptor, 0);
  const auto expect_the_first_or_stale = [&] {
    const int again = open_once_more(file.descriptor, path, 0);
    if (!has_proc()) {
      EXPECT_EQ(again, -1);
      EXPECT_EQ(errno, ESTALE);
      return;
    }
    struct stat status {};
    EXPECT_EQ(fstat(again, &status), 0);
    EXPECT_EQ(status.st_ino, file.status.st_ino);
    close(again);
  };
  fs::rename(folder_.write("b", noise(5000, 2)), path);
  expect_the_first_or_stale();
  fs::remove(path);
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  expect_the_first_or_stale();
}

TEST_P(RegularFile, IsAllThatIsOpened) {
  const fs::path pipe = folder_.path() / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  for (const fs::path& other : {pipe, folder_.path(), fs::path("/dev/null")}) {
    const OpenedFile file = open_file(other);
    EXPECT_EQ(file.descriptor, -1) << other;
    EXPECT_EQ(file.error, 0) << other;
    EXPECT_FALSE(S_ISREG(file.status.st_mode)) << other;
  }
  EXPECT_EQ(open_file(folder_.path() / "nothing").error, ENOENT);
}

TEST_P(RegularFile, LeavesNoDescriptorBehind) {
  const int first_free = dup(STDERR_FILENO);
  close(first_free);
  const fs::path path = folder_.write("a", noise(10));
  const OpenedFile file = open_file(path);
  close(open_once_more(file.descriptor, path, 0));
  close(file.descriptor);
  descriptor_ = -1;
  open_file(folder_.path());
  open_file(folder_.path() / "nothing");
  const int now_free = dup(STDERR_FILENO);
  close(now_free);
  EXPECT_EQ(now_free, first_free);
}

TEST_P(RegularFile, IsWaitedForWhileAnotherHoldsALease) {
  const fs::path path = folder_.write("a", noise(10));
  const Lease lease(path);
  if (!lease.refusal().empty()) GTEST_SKIP() << lease.refusal();
  OpenedFile file;
  std::thread opens([&] { file = open_file(path); });
  lease.wait_until_asked_for();
  if (has_proc()) lease.let_go();
  opens.join();
  if (has_proc()) {
    EXPECT_GE(file.descriptor, 0) << std::strerror(file.error);
  } else {
    EXPECT_EQ(file.error, EAGAIN);
  }
}

INSTANTIATE_TEST_SUITE_P(Base, RegularFile, testing::Values(true, false),
                         [](const auto& test) { return std::string(test.param ? "WithProc" : "WithoutProc"); });

}  // namespace
}  // namespace sluice
