// Goal: UringReader keeps the contract of loader/read/reader.hpp, with and without what it registers, and says why not.
// Method: the checks that all readers share, on rings with each set of flags; seccomp filters and limits refuse the
// ring or its extras.
#include "loader/read/uring_reader.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <algorithm>
#include <string>

#include "tests/loader/support/reader_contract.hpp"
#include "tests/loader/support/refusals.hpp"

namespace sluice {
namespace {

/// With each set of flags that a kernel may leave us.
class UringReaderTest : public testing::TestWithParam<unsigned> {
 protected:
  void SetUp() override {
    const unsigned flags = GetParam();
    reader_ = UringReader::make(resolve({}), wakeup_, fallbacks_, refusal_, {&flags, 1});
    if (reader_ == nullptr) GTEST_SKIP() << "io_uring is refused: " << refusal_;
  }

  Wakeup wakeup_;
  std::vector<Fallback> fallbacks_;
  std::string refusal_;
  std::unique_ptr<UringReader> reader_;
  ReaderContract contract_;
};

TEST_P(UringReaderTest, ReadsBufferedAndOutOfThePageCache) {
  EXPECT_EQ(reader_->kind(), ReaderKind::uring);
  const std::uint32_t file = reader_->add_file(contract_.descriptor());
  for (const ReadPath path : {ReadPath::buffered, ReadPath::cached}) {
    contract_.reads_a_whole_file(*reader_, file, path);
    contract_.reads_several_ranges_at_a_time(*reader_, file, path);
    contract_.tells_the_end_of_the_file_by_fewer_bytes(*reader_, file, path);
  }
  reader_->remove_file(file);
}

TEST_P(UringReaderTest, ReadsDirectly) {
  const int direct = open(contract_.path().c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
  if (direct < 0) GTEST_SKIP() << "this file system refuses O_DIRECT";
  const std::uint32_t file = reader_->add_file(direct);
  contract_.reads_a_whole_file(*reader_, file, ReadPath::direct);
  contract_.reads_several_ranges_at_a_time(*reader_, file, ReadPath::direct);
  contract_.tells_the_end_of_the_file_by_fewer_bytes(*reader_, file, ReadPath::direct);
  reader_->remove_file(file);
  close(direct);
}

TEST_P(UringReaderTest, ReadsIntoRegisteredSlabsAndAfterThemIntoOthers) {
  const std::uint32_t file = reader_->add_file(contract_.descriptor());
  std::vector<Fallback> refused;
  reader_->use_slabs(contract_.target(), refused);
  if (!refused.empty()) GTEST_SKIP() << refused[0].reason;
  contract_.reads_a_whole_file(*reader_, file, ReadPath::buffered, true);
  reader_->use_slabs(contract_.target(), refused);  // again: what was registered is taken back first
  contract_.reads_a_whole_file(*reader_, file, ReadPath::buffered, true);
  reader_->use_slabs({}, refused);
  contract_.reads_a_whole_file(*reader_, file, ReadPath::buffered, true);
  EXPECT_TRUE(refused.empty());
  reader_->remove_file(file);
}

TEST_P(UringReaderTest, ReadsFromMoreFilesThanItsTableHolds) {
  std::vector<std::uint32_t> files(100);
  for (std::uint32_t& file : files) file = reader_->add_file(contract_.descriptor());
  EXPECT_EQ(std::adjacent_find(files.begin(), files.end()), files.end());
  contract_.reads_a_whole_file(*reader_, files.front(), ReadPath::buffered);
  contract_.reads_a_whole_file(*reader_, files.back(), ReadPath::buffered);
  for (const std::uint32_t file : files) reader_->remove_file(file);
}

TEST_P(UringReaderTest, AFileThatWasRemovedMakesRoomForAnother) {
  const int other = open("/dev/null", O_RDONLY | O_CLOEXEC);
  const std::uint32_t first = reader_->add_file(other);
  reader_->remove_file(first);
  close(other);
  const std::uint32_t second = reader_->add_file(contract_.descriptor());
  EXPECT_EQ(second, first);
  contract_.reads_a_whole_file(*reader_, second, ReadPath::buffered);
  reader_->remove_file(second);
}

TEST_P(UringReaderTest, HandsBackErrors) {
  contract_.hands_back_errors(*reader_, ReadPath::buffered);
  contract_.hands_back_errors(*reader_, ReadPath::cached);
}

TEST_P(UringReaderTest, WakesUpWhenNotifiedEachTime) {
  ReaderContract::returns_at_once_where_it_may_not_block(*reader_);
  for (int i = 0; i < 3; ++i) ReaderContract::wakes_up_when_notified(*reader_, wakeup_);
}

TEST_P(UringReaderTest, LosesNoNotification) {
  const std::uint32_t file = reader_->add_file(contract_.descriptor());
  for (const ReadPath path : {ReadPath::buffered, ReadPath::cached}) {
    contract_.is_woken_by_what_was_notified_between_two_waits(*reader_, wakeup_, file, path);
    contract_.meets_every_mark(*reader_, wakeup_, file, path);
  }
  reader_->remove_file(file);
}

TEST_P(UringReaderTest, MayBeDestroyedWhileItsWakeupIsNotified) {
  wakeup_.notify();
  std::vector<Done> done;
  reader_->wait(done, false);
  wakeup_.notify();
  reader_.reset();
}

std::string flags_name(const testing::TestParamInfo<unsigned>& tested) {
  if (tested.param == 0) return "plain";
  return (tested.param & IORING_SETUP_DEFER_TASKRUN) != 0 ? "defer_taskrun" : "coop_taskrun";
}

INSTANTIATE_TEST_SUITE_P(Flags, UringReaderTest, testing::ValuesIn(UringReader::flag_sets), flags_name);

bool is_allowed() {
  Wakeup wakeup;
  std::vector<Fallback> fallbacks;
  std::string refusal;
  return UringReader::make(resolve({}), wakeup, fallbacks, refusal) != nullptr;
}

TEST(UringReaderRefused, ReadsWithoutRegisteredBuffersWhereMemoryMayNotBeLocked) {
  if (!is_allowed()) GTEST_SKIP() << "io_uring is refused altogether";
  EXPECT_EXIT(({
                ReaderContract contract;
                become_ordinary_user();
                limit(RLIMIT_MEMLOCK, 64 << 10);
                Wakeup wakeup;
                std::vector<Fallback> fallbacks;
                std::string refusal;
                const auto reader = UringReader::make(resolve({}), wakeup, fallbacks, refusal);
                require(reader != nullptr, refusal.c_str());
                std::vector<std::byte> slabs(1 << 20);
                std::vector<Fallback> refused;
                reader->use_slabs(slabs, refused);
                require(refused.size() == 1 && refused[0].what == "registered buffers", "the refusal is told");
                require(refused[0].reason.find("ulimit -l") != std::string::npos, "and what would allow it");
                contract.reads_a_whole_file(*reader, reader->add_file(contract.descriptor()), ReadPath::buffered, true);
                std::_Exit(testing::Test::HasFailure() ? 1 : 0);
              }),
              testing::ExitedWithCode(0), "");
}

TEST(UringReaderRefused, SaysThatASeccompFilterIsLikely) {
  EXPECT_EXIT(({
                refuse_calls({SYS_io_uring_setup}, EPERM);
                Wakeup wakeup;
                std::vector<Fallback> fallbacks;
                std::string refusal;
                const auto reader = UringReader::make(resolve({}), wakeup, fallbacks, refusal);
                require(reader == nullptr, "the ring is refused");
                require(refusal.find("seccomp") != std::string::npos || refusal.find("sysctl") != std::string::npos,
                        refusal.c_str());
                std::_Exit(0);
              }),
              testing::ExitedWithCode(0), "");
}

TEST(UringReaderRefused, SaysThatTheKernelKnowsNoRing) {
  EXPECT_EXIT(({
                refuse_calls({SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register}, ENOSYS);
                Wakeup wakeup;
                std::vector<Fallback> fallbacks;
                std::string refusal;
                const auto reader = UringReader::make(resolve({}), wakeup, fallbacks, refusal);
                require(reader == nullptr, "the ring is refused");
                require(refusal.find("knows no io_uring") != std::string::npos, refusal.c_str());
                std::_Exit(0);
              }),
              testing::ExitedWithCode(0), "");
}

TEST(UringReaderRefused, AsksForNothingMoreOfARingThatCannotBeProbed) {
  EXPECT_EXIT(({
                refuse_calls({SYS_io_uring_register}, EPERM);
                Wakeup wakeup;
                std::vector<Fallback> fallbacks;
                std::string refusal;
                const auto reader = UringReader::make(resolve({}), wakeup, fallbacks, refusal);
                require(reader == nullptr, "the ring is refused");
                require(refusal.find("io_uring_register") != std::string::npos, refusal.c_str());
                require(fallbacks.empty(), "nothing was tried on it");
                std::_Exit(0);
              }),
              testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace sluice
