// Goal: every read is done at once and nothing is touched; the wakeup works as with any other reader.
#include "loader/read/null_reader.hpp"

#include <gtest/gtest.h>

#include "tests/loader/support/reader_contract.hpp"

namespace sluice {
namespace {

TEST(NullReader, SaysThatItReadAndTouchesNothing) {
  Wakeup wakeup;
  NullReader reader(wakeup);
  EXPECT_EQ(reader.kind(), ReaderKind::null);
  for (std::uint64_t tag = 0; tag < 3; ++tag) {
    Read read;
    read.bytes = 100;
    read.tag = tag;  // its target is nullptr: writing to it would end the test
    reader.submit(read);
  }
  const std::vector<Done> done = ReaderContract::wait_for(reader, 3);
  ASSERT_EQ(done.size(), 3u);
  for (std::uint64_t tag = 0; tag < 3; ++tag) {
    EXPECT_EQ(done[tag].tag, tag);
    EXPECT_EQ(done[tag].bytes, 100u);
    EXPECT_EQ(done[tag].error, 0);
  }
  ReaderContract::returns_at_once_where_it_may_not_block(reader);
}

TEST(NullReader, WakesUpWhenNotified) {
  Wakeup wakeup;
  NullReader reader(wakeup);
  ReaderContract::wakes_up_when_notified(reader, wakeup);
  ReaderContract contract;
  contract.is_woken_by_what_was_notified_between_two_waits(reader, wakeup, 0, ReadPath::buffered);
  contract.meets_every_mark(reader, wakeup, 0, ReadPath::buffered);
}

}  // namespace
}  // namespace sluice
