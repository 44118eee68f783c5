// That whoever waits for a group waits for all of its tasks, and for none that could not be queued.
#include "loader/base/task_group.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <new>
#include <thread>

namespace sluice {
namespace {

TEST(TaskGroup, WaitsForAllOfItsTasks) {
  Workers workers(2);
  std::atomic<int> done = 0;
  {
    TaskGroup group(workers);
    for (int i = 0; i < 100; ++i) {
      group.run([&done] {
        std::this_thread::yield();
        ++done;
      });
    }
    group.wait();
    EXPECT_EQ(done, 100);
    group.run([&done] { ++done; });
  }
  EXPECT_EQ(done, 101);
}

TEST(TaskGroup, WaitsForNothingWhereNothingWasQueued) {
  Workers workers(1);
  TaskGroup group(workers);
  group.wait();
}

// A task that is refused on its way into the queue, as where there is no memory for it: the group takes it by value
// and moves it there.
struct Refused {
  Refused() = default;
  Refused(const Refused& /*other*/) = default;
  Refused(Refused&& /*other*/) noexcept(false) { throw std::bad_alloc(); }
  void operator()() const { ADD_FAILURE() << "it was queued"; }
};

TEST(TaskGroup, CountsNoTaskThatCouldNotBeQueued) {
  Workers workers(1);
  TaskGroup group(workers);
  const Refused task;
  EXPECT_THROW(group.run(task), std::bad_alloc);
  group.wait();
}

}  // namespace
}  // namespace sluice
