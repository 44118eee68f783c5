// Goal: our threads carry a name, leave signals to the process's own threads, and their refusal is an Error. Work that
// is shared out is done once, by however many threads there are. Method: ask the thread for its mask and name; make
// threads as a user who may have none.
#include "loader/base/thread.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <csignal>
#include <cstddef>
#include <latch>
#include <string>
#include <vector>

#include "sluice/error.hpp"
#include "tests/loader/support/refusals.hpp"

namespace sluice {
namespace {

TEST(StartThread, KeepsFifteenCharactersOfTheName) {
  std::latch named(1);
  std::thread thread = start_thread("sluice-with-a-long-name", [&named] { named.wait(); });
  char name[16] = {};
  pthread_getname_np(thread.native_handle(), name, sizeof name);
  named.count_down();
  thread.join();
  EXPECT_STREQ(name, "sluice-with-a-l");
}

TEST(StartThread, TakesNoSignalsAndLeavesTheCallersMaskAsItWas) {
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  sigset_t inside;
  sigemptyset(&inside);
  start_thread("sluice", [&inside] { pthread_sigmask(SIG_SETMASK, nullptr, &inside); }).join();
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGUSR1, SIGPROF}) {
    EXPECT_EQ(sigismember(&inside, signal), 1) << "signal " << signal;
  }
  sigset_t after;
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGUSR1, SIGPROF}) {
    EXPECT_EQ(sigismember(&after, signal), sigismember(&before, signal)) << "signal " << signal;
  }
}

TEST(ProcessorCount, IsTheProcesssOwnShare) {
  cpu_set_t all;
  ASSERT_EQ(sched_getaffinity(0, sizeof all, &all), 0);
  EXPECT_EQ(processor_count(), static_cast<unsigned>(CPU_COUNT(&all)));
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(processor_count(), 1u);
  ASSERT_EQ(sched_setaffinity(0, sizeof all, &all), 0);
}

TEST(ShareOut, DoesEveryPartOnce) {
  for (const unsigned threads : {0u, 1u, 3u, 16u}) {
    for (const std::size_t parts : {std::size_t{0}, std::size_t{1}, std::size_t{1000}}) {
      std::vector<std::atomic<int>> done(parts);
      share_out(threads, parts, [&](std::size_t part) { ++done[part]; });
      for (const auto& times : done) EXPECT_EQ(times, 1);
    }
  }
}

TEST(ShareOut, NeedsNoThreadButTheCallers) {
  EXPECT_EXIT(({
                become_ordinary_user();
                limit(RLIMIT_NPROC, 0);
                std::size_t sum = 0;
                share_out(4, 10, [&](std::size_t part) { sum += part; });
                require(sum == 45, "all parts are done");
                std::_Exit(0);
              }),
              testing::ExitedWithCode(0), "");
}

TEST(StartThread, SaysWhatRefusesAThread) {
  EXPECT_EXIT(({
                become_ordinary_user();
                limit(RLIMIT_NPROC, 0);
                try {
                  start_thread("sluice", [] {}).join();
                  require(false, "a thread is refused");
                } catch (const Error& error) {
                  require(error.code() == ErrorCode::system, "the error is of the system");
                  require(error.hint().find("ulimit -u") != std::string::npos, "the hint names the limit");
                }
                sigset_t mask;
                pthread_sigmask(SIG_SETMASK, nullptr, &mask);
                require(sigismember(&mask, SIGTERM) == 0, "the caller's mask is as it was");
                std::_Exit(0);
              }),
              testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace sluice
