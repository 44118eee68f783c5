// Goal: reads on threads end each once, with their bytes, and notify; none outlives the pool.
// Method: a file of noise; a pool that is destroyed with its reads still queued.
#include "loader/read/pread_pool.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include "tests/loader/support/reader_contract.hpp"

namespace sluice {
namespace {

std::vector<Done> collect(PreadPool& pool, Wakeup& wakeup, std::size_t count) {
  std::vector<Done> done;
  while (done.size() < count) {
    pollfd descriptor{wakeup.fd(), POLLIN, 0};
    EXPECT_EQ(poll(&descriptor, 1, -1), 1);
    wakeup.clear();
    pool.collect(done);
  }
  return done;
}

TEST(PreadPool, ReadsAndNotifies) {
  const ReaderContract file;
  Wakeup wakeup;
  PreadPool pool(2, wakeup);
  for (std::uint32_t i = 0; i < 8; ++i) pool.submit(file.descriptor(), file.read(0, i * 4096, 4096));
  const std::vector<Done> done = collect(pool, wakeup, 8);
  EXPECT_EQ(done.size(), 8u);
  for (const Done& one : done) EXPECT_EQ(one.bytes, 4096u);
  EXPECT_TRUE(file.holds(0, 8 * 4096));
}

TEST(PreadPool, EndsWithTheFileWithoutAnError) {
  const ReaderContract file;
  Wakeup wakeup;
  PreadPool pool(1, wakeup);
  pool.submit(file.descriptor(), file.read(0, 0, ReaderContract::target_bytes));
  const std::vector<Done> done = collect(pool, wakeup, 1);
  EXPECT_EQ(done[0].bytes, ReaderContract::file_bytes);
  EXPECT_EQ(done[0].error, 0);
}

TEST(PreadPool, HandsBackTheErrno) {
  const ReaderContract file;
  Wakeup wakeup;
  PreadPool pool(1, wakeup);
  pool.submit(-1, file.read(0, 0, 4096));
  EXPECT_EQ(collect(pool, wakeup, 1)[0].error, EBADF);
}

TEST(PreadPool, TheDestructorWaitsForReadsInFlight) {
  const ReaderContract file;
  Wakeup wakeup;
  {
    PreadPool pool(2, wakeup);
    for (std::uint32_t i = 0; i < 15; ++i) pool.submit(file.descriptor(), file.read(0, i * 4096, 4096));
  }
  EXPECT_TRUE(file.holds(0, 15 * 4096));
}

}  // namespace
}  // namespace sluice
