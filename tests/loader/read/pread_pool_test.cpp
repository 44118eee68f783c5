// Goal: reads on threads end each once, with their bytes, and notify; none outlives the pool.
// Method: a file of noise; a pool that is destroyed with its reads still queued; a seccomp filter that refuses pread
// for ever.
#include "loader/read/pread_pool.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/syscall.h>

#include <cerrno>

#include "tests/loader/support/reader_contract.hpp"
#include "tests/loader/support/refusals.hpp"

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
  PreadPool pool(2, 16, wakeup);
  for (std::uint32_t i = 0; i < 8; ++i) pool.submit(file.descriptor(), ReadProgress(file.read(0, i * 4096, 4096)));
  const std::vector<Done> done = collect(pool, wakeup, 8);
  EXPECT_EQ(done.size(), 8u);
  for (const Done& one : done) EXPECT_EQ(one.bytes, 4096u);
  EXPECT_TRUE(file.holds(0, 8 * 4096));
}

TEST(PreadPool, EndsWithTheFileWithoutAnError) {
  const ReaderContract file;
  Wakeup wakeup;
  PreadPool pool(1, 16, wakeup);
  pool.submit(file.descriptor(), ReadProgress(file.read(0, 0, ReaderContract::target_bytes)));
  const std::vector<Done> done = collect(pool, wakeup, 1);
  EXPECT_EQ(done[0].bytes, ReaderContract::file_bytes);
  EXPECT_EQ(done[0].error, 0);
}

TEST(PreadPool, HandsBackTheErrno) {
  const ReaderContract file;
  Wakeup wakeup;
  PreadPool pool(1, 16, wakeup);
  pool.submit(-1, ReadProgress(file.read(0, 0, 4096)));
  EXPECT_EQ(collect(pool, wakeup, 1)[0].error, EBADF);
}

TEST(PreadPool, CarriesOnWhatHasBegunElsewhere) {
  const ReaderContract file;
  Wakeup wakeup;
  PreadPool pool(1, 1, wakeup);
  ReadProgress begun(file.read(0, 0, 8192));
  begun.add(4096);
  begun.add(-EAGAIN);
  pool.submit(file.descriptor(), begun);
  const std::vector<Done> done = collect(pool, wakeup, 1);
  EXPECT_EQ(done[0].bytes, 8192u);
  EXPECT_EQ(done[0].error, 0);
  EXPECT_TRUE(file.holds(4096, 4096));
  EXPECT_EQ(file.target()[0], std::byte{0});
}

TEST(PreadPool, GivesUpOnStorageThatIsNeverReady) {
  for (const int error : {EAGAIN, ENOMEM}) {
    in_child([&] {
      const ReaderContract file;
      refuse_calls({SYS_pread64}, error);
      Wakeup wakeup;
      PreadPool pool(1, 1, wakeup);
      pool.submit(file.descriptor(), ReadProgress(file.read(0, 0, 4096)));
      const std::vector<Done> done = collect(pool, wakeup, 1);
      EXPECT_EQ(done[0].error, error);
      EXPECT_EQ(done[0].bytes, 0u);
    });
  }
}

TEST(PreadPool, TheDestructorWaitsForReadsInFlight) {
  const ReaderContract file;
  Wakeup wakeup;
  {
    PreadPool pool(2, 16, wakeup);
    for (std::uint32_t i = 0; i < 15; ++i) pool.submit(file.descriptor(), ReadProgress(file.read(0, i * 4096, 4096)));
  }
  EXPECT_TRUE(file.holds(0, 15 * 4096));
}

}  // namespace
}  // namespace sluice
