// Goal: a file is recognised by all that is known of it, and by its number alone never.
// Method: identities that differ in one thing each; dates at both ends of what 64 bits hold.
#include "loader/base/file_identity.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <set>

namespace sluice {
namespace {

const FileIdentity some_file = {2, 7, 1, 1000, {1'700'000'000, 5}, {1'700'000'001, 6}};

FileIdentity with(void (*change)(FileIdentity& file)) {
  FileIdentity file = some_file;
  change(file);
  return file;
}

const FileIdentity elsewhere = with([](FileIdentity& file) { file.number = 8; });
const FileIdentity on_another_device = with([](FileIdentity& file) { file.device = 3; });
const FileIdentity renamed_or_linked = with([](FileIdentity& file) { file.changed.nanoseconds = 7; });
const FileIdentity longer = with([](FileIdentity& file) { file.bytes = 1001; });
const FileIdentity written_a_second_later = with([](FileIdentity& file) { ++file.written.seconds; });
const FileIdentity written_a_nanosecond_later = with([](FileIdentity& file) { ++file.written.nanoseconds; });
const FileIdentity copied_with_its_date = with([](FileIdentity& file) {
  file.number = 8;
  file.changed.seconds = 1'800'000'000;
});

TEST(FileIdentity, IsOfOneFileWhereAllAgrees) {
  EXPECT_EQ(is_same_file(some_file, some_file), SameFile::yes);
  EXPECT_EQ(is_same_file(some_file, with([](FileIdentity& file) { file.links = 2; })), SameFile::yes);
}

TEST(FileIdentity, LeavesItToTheContentWhereOnlyThePlaceOrTheLastChangeDiffers) {
  EXPECT_EQ(is_same_file(some_file, elsewhere), SameFile::perhaps);
  EXPECT_EQ(is_same_file(some_file, on_another_device), SameFile::perhaps);
  EXPECT_EQ(is_same_file(some_file, renamed_or_linked), SameFile::perhaps);
}

TEST(FileIdentity, IsOfAnotherFileWhateverNumberItBears) {
  for (const FileIdentity& other : {longer, written_a_second_later, written_a_nanosecond_later, copied_with_its_date}) {
    EXPECT_EQ(is_same_file(some_file, other), SameFile::no);
    EXPECT_EQ(is_same_file(other, some_file), SameFile::no);
  }
}

TEST(FileIdentity, TellsWritingFromMovingAndLinking) {
  for (const FileIdentity& other : {some_file, elsewhere, on_another_device, renamed_or_linked, copied_with_its_date}) {
    EXPECT_TRUE(is_unwritten(some_file, other));
  }
  for (const FileIdentity& other : {longer, written_a_second_later, written_a_nanosecond_later}) {
    EXPECT_FALSE(is_unwritten(some_file, other));
  }
}

// Seconds times a billion leave 64 bits in the year 2262, and wrap around to dates that other files have.
TEST(FileIdentity, HoldsAnyDate) {
  constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min();
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  std::set<FileIdentity> all;
  for (const std::int64_t seconds : {least, std::int64_t{-1}, std::int64_t{0}, std::int64_t{10'413'792'000}, most}) {
    for (const std::int64_t nanoseconds : {0, 999'999'999}) {
      struct stat status {};
      status.st_mtim = {seconds, nanoseconds};
      const FileIdentity file = identity_of(status);
      EXPECT_EQ(file.written.seconds, seconds);
      EXPECT_EQ(file.written.nanoseconds, nanoseconds);
      EXPECT_EQ(is_same_file(file, file), SameFile::yes);
      all.insert(file);
    }
  }
  EXPECT_EQ(all.size(), 10u);
}

TEST(FileIdentity, IsWhatTheSystemTells) {
  struct stat status {};
  status.st_dev = 1;
  status.st_ino = 2;
  status.st_nlink = 3;
  status.st_size = 4;
  status.st_mtim = {5, 6};
  status.st_ctim = {7, 8};
  EXPECT_EQ(identity_of(status), (FileIdentity{1, 2, 3, 4, {5, 6}, {7, 8}}));
}

}  // namespace
}  // namespace sluice
