// Goal: short reads go on where they stopped, the end of a file and an error end them, each told apart.
// Method: the kernel's answers, made up one by one.
#include "loader/read/read_progress.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>

namespace sluice {
namespace {

std::array<std::byte, 16384> target;

Read read_of(std::uint32_t bytes, ReadPath path = ReadPath::buffered) {
  Read read;
  read.offset = 1 << 20;
  read.target = target.data();
  read.bytes = bytes;
  read.path = path;
  read.tag = 7;
  return read;
}

TEST(ReadProgress, AsksForAllAndEndsWithIt) {
  ReadProgress progress(read_of(10000));
  EXPECT_FALSE(progress.ended());
  EXPECT_EQ(progress.offset(), 1u << 20);
  EXPECT_EQ(progress.target(), target.data());
  EXPECT_EQ(progress.bytes(), 10000u);
  progress.add(10000);
  EXPECT_TRUE(progress.ended());
  EXPECT_EQ(progress.done().tag, 7u);
  EXPECT_EQ(progress.done().bytes, 10000u);
  EXPECT_EQ(progress.done().error, 0);
}

TEST(ReadProgress, GoesOnWhereAShortReadStopped) {
  ReadProgress progress(read_of(10000));
  progress.add(3000);
  EXPECT_FALSE(progress.ended());
  EXPECT_EQ(progress.offset(), (1u << 20) + 3000);
  EXPECT_EQ(progress.target(), target.data() + 3000);
  EXPECT_EQ(progress.bytes(), 7000u);
  progress.add(7000);
  EXPECT_TRUE(progress.ended());
  EXPECT_EQ(progress.done().bytes, 10000u);
}

TEST(ReadProgress, TriesAgainWhatWasInterrupted) {
  ReadProgress progress(read_of(100));
  progress.add(40);
  progress.add(-EINTR);
  progress.add(-EAGAIN);
  EXPECT_FALSE(progress.ended());
  EXPECT_TRUE(progress.refused());
  EXPECT_EQ(progress.bytes(), 60u);
  progress.add(10);
  EXPECT_FALSE(progress.refused());
}

TEST(ReadProgress, GivesUpWhatIsRefusedTooOftenInARow) {
  for (const int error : {EINTR, EAGAIN, EBUSY, ENOMEM, ECANCELED}) {
    ReadProgress progress(read_of(100));
    for (int round = 0; round < 2; ++round) {  // bytes in between begin the count anew
      for (unsigned i = 1; i < limits::tries_max; ++i) progress.add(-error);
      EXPECT_FALSE(progress.ended());
      progress.add(10);
    }
    for (unsigned i = 0; i < limits::tries_max; ++i) {
      EXPECT_FALSE(progress.ended());
      progress.add(-error);
    }
    EXPECT_TRUE(progress.ended());
    EXPECT_EQ(progress.done().error, error);
    EXPECT_EQ(progress.done().bytes, 20u);
  }
}

TEST(ReadProgress, TheEndOfTheFileIsNoErrorButFewerBytes) {
  ReadProgress progress(read_of(100));
  progress.add(40);
  progress.add(0);
  EXPECT_TRUE(progress.ended());
  EXPECT_EQ(progress.done().bytes, 40u);
  EXPECT_EQ(progress.done().error, 0);
}

TEST(ReadProgress, AnErrorEndsItAndKeepsWhatCameBefore) {
  ReadProgress progress(read_of(100));
  progress.add(40);
  progress.add(-EIO);
  EXPECT_TRUE(progress.ended());
  EXPECT_EQ(progress.done().bytes, 40u);
  EXPECT_EQ(progress.done().error, EIO);
}

TEST(ReadProgress, OfNoBytesHasEndedBeforeItBegins) {
  EXPECT_TRUE(ReadProgress(read_of(0)).ended());
}

TEST(ReadProgress, DirectReadsAskForWholeBlocksAndReportWhatWasWanted) {
  ReadProgress progress(read_of(5000, ReadPath::direct));
  EXPECT_EQ(progress.bytes(), 8192u);
  progress.add(8192);  // the file goes on behind what was wanted
  EXPECT_TRUE(progress.ended());
  EXPECT_EQ(progress.done().bytes, 5000u);
}

TEST(ReadProgress, ADirectReadThatStopsInsideABlockHasMetTheEndOfTheFile) {
  ReadProgress progress(read_of(12288, ReadPath::direct));
  progress.add(4096);
  EXPECT_FALSE(progress.ended());
  EXPECT_EQ(progress.bytes(), 8192u);
  progress.add(100);
  EXPECT_TRUE(progress.ended());
  EXPECT_EQ(progress.done().bytes, 4196u);
  EXPECT_EQ(progress.done().error, 0);
}

}  // namespace
}  // namespace sluice
