// Goal: every task runs, once, in order of its beginning, side by side where there are threads.
// Method: tasks that meet at latches: a pool that ran them one after the other would never end.
#include "loader/base/workers.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <memory>
#include <numeric>
#include <vector>

#include "sluice/error.hpp"
#include "tests/loader/support/refusals.hpp"

namespace sluice {
namespace {

TEST(Workers, TheDestructorFinishesAllTasks) {
  std::atomic<int> ran = 0;
  {
    Workers workers(3);
    EXPECT_EQ(workers.count(), 3u);
    for (int i = 0; i < 1000; ++i) workers.run([&ran] { ++ran; });
  }
  EXPECT_EQ(ran, 1000);
}

TEST(Workers, BeginsTasksInTheirOrder) {
  std::vector<int> order;
  {
    Workers workers(1);
    for (int i = 0; i < 100; ++i) workers.run([&order, i] { order.push_back(i); });
  }
  std::vector<int> expected(100);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(order, expected);
}

TEST(Workers, RunsAsManyTasksAtATimeAsItHasThreads) {
  std::latch all(4);
  Workers workers(4);
  for (int i = 0; i < 4; ++i) workers.run([&all] { all.arrive_and_wait(); });
  all.wait();
}

TEST(Workers, ATaskMayQueueAnotherEvenWhileThePoolEnds) {
  std::atomic<int> ran = 0;
  {
    Workers workers(1);
    workers.run([&] {
      ++ran;
      workers.run([&ran] { ++ran; });
    });
  }
  EXPECT_EQ(ran, 2);
}

TEST(Workers, LetsGoOfWhatATaskHoldsBeforeItBeginsTheNext) {
  auto held = std::make_shared<int>(1);
  const std::weak_ptr<int> watched = held;
  bool gone = false;
  {
    Workers workers(1);
    workers.run([kept = std::move(held)] {});
    workers.run([&] { gone = watched.expired(); });
  }
  EXPECT_TRUE(gone);
}

TEST(Workers, SaysThatNoThreadCanBeMade) {
  EXPECT_EXIT(({
                become_ordinary_user();
                limit(RLIMIT_NPROC, 0);
                try {
                  Workers workers(2);
                  require(false, "threads are refused");
                } catch (const Error& error) {
                  require(error.code() == ErrorCode::system, "the error is of the system");
                }
                std::_Exit(0);
              }),
              testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace sluice
