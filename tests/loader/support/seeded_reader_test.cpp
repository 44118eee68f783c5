// Goal: SeededReader is a reader: it keeps the contract of loader/read/reader.hpp whatever its storage does, and says
// truly how a read ended.
// Method: the checks that all readers share, with many seeds; then reads from storage that fails.
#include "tests/loader/support/seeded_reader.hpp"

#include <gtest/gtest.h>

#include <set>

#include "tests/loader/support/reader_contract.hpp"

namespace sluice {
namespace {

constexpr unsigned queue_depth = 8;

class SeededReaderTest : public testing::Test {
 protected:
  Wakeup wakeup_;
  ReaderContract contract_;
};

TEST_F(SeededReaderTest, KeepsTheContract) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    const testing::ScopedTrace trace(__FILE__, __LINE__, "seed " + std::to_string(seed));
    SeededReader reader(wakeup_, queue_depth, seed);
    const std::uint32_t file = reader.add_file(contract_.descriptor());
    for (const ReadPath path : {ReadPath::direct, ReadPath::buffered, ReadPath::cached}) {
      contract_.reads_a_whole_file(reader, file, path);
      contract_.reads_several_ranges_at_a_time(reader, file, path);
      contract_.tells_the_end_of_the_file_by_fewer_bytes(reader, file, path);
      contract_.hands_back_errors(reader, path);
    }
    ReaderContract::returns_at_once_where_it_may_not_block(reader);
    ReaderContract::wakes_up_when_notified(reader, wakeup_);
    contract_.is_woken_by_what_was_notified_between_two_waits(reader, wakeup_, file, ReadPath::buffered);
    if (seed <= 5) contract_.meets_every_mark(reader, wakeup_, file, ReadPath::buffered);
    reader.remove_file(file);
    EXPECT_TRUE(reader.is_idle());
    if (HasFailure()) return;
  }
}

TEST_F(SeededReaderTest, FailsAsStorageDoes) {
  std::set<int> errors;
  std::set<std::uint64_t> offsets;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    SeededReader reader(wakeup_, queue_depth, seed);
    reader.become({.errors = 500, .early_ends = 500, .refuses_direct = 0});
    const std::uint32_t file = reader.add_file(contract_.descriptor());
    contract_.clear();
    reader.submit(contract_.read(file, 0, 15 * ReaderContract::block_bytes));
    const Done done = ReaderContract::wait_for(reader, 1)[0];
    EXPECT_TRUE(contract_.holds(0, done.bytes));
    EXPECT_EQ(reader.failure().has_value(), done.bytes < 15 * ReaderContract::block_bytes);
    if (reader.failure()) {
      EXPECT_EQ(reader.failure()->error, done.error);
      EXPECT_EQ(reader.failure()->offset, done.bytes);
      EXPECT_EQ(reader.failure()->path, contract_.path().string());
      errors.insert(done.error);
      offsets.insert(done.bytes);
    }
    reader.remove_file(file);
  }
  EXPECT_EQ(errors.size(), 13u);  // all that there are, and none
  EXPECT_GT(offsets.size(), 50u);
}

TEST_F(SeededReaderTest, RefusesDirectReads) {
  SeededReader reader(wakeup_, queue_depth, 1);
  reader.become({.errors = 0, .early_ends = 0, .refuses_direct = 1000});
  const std::uint32_t file = reader.add_file(contract_.descriptor());
  std::set<int> errors;
  for (int i = 0; i < 20; ++i) {
    reader.submit(contract_.read(file, 0, ReaderContract::block_bytes, ReadPath::direct));
    errors.insert(ReaderContract::wait_for(reader, 1)[0].error);
  }
  EXPECT_EQ(errors, (std::set<int>{EINVAL, EOPNOTSUPP}));
  EXPECT_FALSE(reader.failure());
  contract_.reads_a_whole_file(reader, file, ReadPath::buffered);
}

}  // namespace
}  // namespace sluice
