// Goal: PreadReader keeps the contract of loader/read/reader.hpp.
// Method: the checks that all readers share, buffered and, where the file system takes it, with O_DIRECT.
#include "loader/read/pread_reader.hpp"

#include <gtest/gtest.h>

#include "tests/loader/support/reader_contract.hpp"

namespace sluice {
namespace {

class PreadReaderTest : public testing::Test {
 protected:
  Wakeup wakeup_;
  PreadReader reader_{resolve({}), wakeup_};
  ReaderContract contract_;
};

TEST_F(PreadReaderTest, ReadsBuffered) {
  EXPECT_EQ(reader_.kind(), ReaderKind::pread);
  const std::uint32_t file = reader_.add_file(contract_.descriptor());
  contract_.reads_a_whole_file(reader_, file, ReadPath::buffered);
  contract_.reads_a_whole_file(reader_, file, ReadPath::cached);
  contract_.reads_several_ranges_at_a_time(reader_, file, ReadPath::buffered);
  contract_.tells_the_end_of_the_file_by_fewer_bytes(reader_, file, ReadPath::buffered);
  reader_.remove_file(file);
}

TEST_F(PreadReaderTest, ReadsDirectly) {
  const int direct = open(contract_.path().c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
  if (direct < 0) GTEST_SKIP() << "this file system refuses O_DIRECT";
  const std::uint32_t file = reader_.add_file(direct);
  contract_.reads_a_whole_file(reader_, file, ReadPath::direct);
  contract_.reads_several_ranges_at_a_time(reader_, file, ReadPath::direct);
  contract_.tells_the_end_of_the_file_by_fewer_bytes(reader_, file, ReadPath::direct);
  reader_.remove_file(file);
  close(direct);
}

TEST_F(PreadReaderTest, HandsBackErrors) {
  contract_.hands_back_errors(reader_, ReadPath::buffered);
}

TEST_F(PreadReaderTest, WakesUpWhenNotified) {
  ReaderContract::returns_at_once_where_it_may_not_block(reader_);
  ReaderContract::wakes_up_when_notified(reader_, wakeup_);
}

TEST_F(PreadReaderTest, LosesNoNotification) {
  const std::uint32_t file = reader_.add_file(contract_.descriptor());
  contract_.is_woken_by_what_was_notified_between_two_waits(reader_, wakeup_, file, ReadPath::buffered);
  contract_.meets_every_mark(reader_, wakeup_, file, ReadPath::buffered);
  reader_.remove_file(file);
}

}  // namespace
}  // namespace sluice
