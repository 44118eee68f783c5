// Goal: a notification wakes whoever waits, now or later, once, and is never lost or in the way.
// Method: poll the descriptor as readers do.
#include "loader/base/wakeup.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <thread>

#include "sluice/error.hpp"
#include "tests/loader/support/refusals.hpp"

namespace sluice {
namespace {

bool is_readable(const Wakeup& wakeup, int timeout_ms = 0) {
  pollfd descriptor{wakeup.fd(), POLLIN, 0};
  return poll(&descriptor, 1, timeout_ms) == 1;
}

TEST(Wakeup, IsReadableFromNotifyToClear) {
  Wakeup wakeup;
  EXPECT_FALSE(is_readable(wakeup));
  wakeup.notify();
  EXPECT_TRUE(is_readable(wakeup));
  EXPECT_TRUE(is_readable(wakeup));
  wakeup.clear();
  EXPECT_FALSE(is_readable(wakeup));
}

TEST(Wakeup, OneClearForgetsAllNotifications) {
  Wakeup wakeup;
  for (int i = 0; i < 100; ++i) wakeup.notify();
  wakeup.clear();
  EXPECT_FALSE(is_readable(wakeup));
}

TEST(Wakeup, ClearDoesNotBlockWhereNothingWasNotified) {
  Wakeup wakeup;
  wakeup.clear();
  wakeup.notify();
  EXPECT_TRUE(is_readable(wakeup));
}

TEST(Wakeup, NotifyDoesNotBlockWhereTheCounterIsFull) {
  Wakeup wakeup;
  const std::uint64_t most = UINT64_MAX - 1;
  ASSERT_EQ(write(wakeup.fd(), &most, sizeof most), static_cast<ssize_t>(sizeof most));
  wakeup.notify();
  EXPECT_TRUE(is_readable(wakeup));
}

TEST(Wakeup, WakesAThreadThatWaits) {
  Wakeup wakeup;
  std::thread other([&wakeup] { wakeup.notify(); });
  EXPECT_TRUE(is_readable(wakeup, -1));
  other.join();
}

TEST(Wakeup, WaitsUntilItIsNotified) {
  Wakeup wakeup;
  wakeup.notify();
  wakeup.wait();  // what came before it counts
  wakeup.clear();
  std::thread other([&wakeup] { wakeup.notify(); });
  wakeup.wait();
  EXPECT_TRUE(is_readable(wakeup));
  other.join();
}

TEST(Wakeup, SaysThatItMayNotWait) {
  in_child([] {
    refuse_calls({SYS_poll, SYS_ppoll}, EPERM);
    const Wakeup wakeup;
    try {
      wakeup.wait();
      ADD_FAILURE() << "poll is refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::system);
    }
  });
}

TEST(Wakeup, SaysThatNoDescriptorIsLeft) {
  EXPECT_EXIT(({
                refuse_calls({SYS_eventfd2}, EMFILE);
                try {
                  Wakeup wakeup;
                  require(false, "an eventfd is refused");
                } catch (const Error& error) {
                  require(error.code() == ErrorCode::system, "the error is of the system");
                }
                std::_Exit(0);
              }),
              testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace sluice
