// Goal: our threads carry a name, leave signals to the process's own threads but take the faults that they cause, and
// their refusal is an Error. Work that is shared out is done once, by however many threads there are. Method: ask the
// thread for its mask and name; fault on it; make threads as a user who may have none; fail each allocation in turn.
#include "loader/base/thread.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <latch>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "sluice/error.hpp"
#include "tests/loader/support/refusals.hpp"

namespace {

// How many more allocations of this thread succeed; below 0: all.
thread_local int allocations_left = -1;

}  // namespace

void* operator new(std::size_t bytes) {
  if (allocations_left == 0) throw std::bad_alloc();
  if (allocations_left > 0) --allocations_left;
  if (void* const memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t /*bytes*/) noexcept {
  std::free(memory);
}

namespace sluice {
namespace {

TEST(OnOwnThread, DoesTheWorkElsewhereAndThrowsWhatItThrows) {
  std::thread::id worked;
  on_own_thread("sluice-aside", [&] { worked = std::this_thread::get_id(); });
  EXPECT_NE(worked, std::thread::id());
  EXPECT_NE(worked, std::this_thread::get_id());
  EXPECT_THROW(on_own_thread("sluice-aside", [] { throw Error(ErrorCode::io, "refused"); }), Error);
}

TEST(RatherOnOwnThread, DoesTheWorkElsewhere) {
  std::thread::id worked;
  rather_on_own_thread("sluice-aside", [&] { worked = std::this_thread::get_id(); });
  EXPECT_NE(worked, std::thread::id());
  EXPECT_NE(worked, std::this_thread::get_id());
}

TEST(RatherOnOwnThread, DoesItHereWhereThereIsNoThread) {
  EXPECT_EXIT(({
                refuse_calls({SYS_clone, SYS_clone3}, EAGAIN);
                std::thread::id worked;
                rather_on_own_thread("sluice-aside", [&] { worked = std::this_thread::get_id(); });
                std::_Exit(worked == std::this_thread::get_id() ? 0 : 1);
              }),
              testing::ExitedWithCode(0), "");
}

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
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGUSR1, SIGALRM}) {
    EXPECT_EQ(sigismember(&inside, signal), 1) << "signal " << signal;
  }
  sigset_t after;
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGUSR1, SIGALRM}) {
    EXPECT_EQ(sigismember(&after, signal), sigismember(&before, signal)) << "signal " << signal;
  }
}

// The mask of a thread of ours that a thread with `blocked` makes.
sigset_t mask_of_a_thread(std::initializer_list<int> blocked) {
  sigset_t mine;
  sigset_t before;
  sigemptyset(&mine);
  for (const int signal : blocked) sigaddset(&mine, signal);
  pthread_sigmask(SIG_SETMASK, &mine, &before);
  sigset_t inside;
  sigemptyset(&inside);
  start_thread("sluice", [&inside] { pthread_sigmask(SIG_SETMASK, nullptr, &inside); }).join();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return inside;
}

TEST(StartThread, TakesTheFaultsThatItCausesWhateverTheCallerBlocks) {
  const auto faults = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS, SIGTRAP, SIGABRT};
  for (const sigset_t& inside : {mask_of_a_thread({}), mask_of_a_thread(faults)}) {
    for (const int signal : faults) EXPECT_EQ(sigismember(&inside, signal), 0) << "signal " << signal;
  }
}

TEST(StartThread, LetsProfilersLookWhereTheCallerDoes) {
  const sigset_t open = mask_of_a_thread({});
  EXPECT_EQ(sigismember(&open, SIGPROF), 0);
  const sigset_t closed = mask_of_a_thread({SIGPROF});
  EXPECT_EQ(sigismember(&closed, SIGPROF), 1) << "an application that takes it by sigwait() must not be ended by it";
}

TEST(StartThread, AFaultReachesTheApplicationsHandler) {
  in_child([] {
    struct sigaction action {};
    action.sa_handler = [](int) { std::_Exit(0); };
    sigaction(SIGSEGV, &action, nullptr);
    void* const page = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    start_thread("sluice", [page] { *static_cast<volatile char*>(page) = 1; }).join();
    require(false, "the fault ends the process");
  });
}

TEST(StartThread, WithoutMemoryLeavesTheCallersMaskAndNoThread) {
  in_child([] {
    bool made = false;
    for (int enough = 0; !made; ++enough) {
      require(enough < 100, "some number of allocations is enough");
      std::function<void()> body = [] {};
      std::thread thread;
      allocations_left = enough;
      try {
        thread = start_thread("sluice-with-a-long-name", std::move(body));
        made = true;
      } catch (const std::bad_alloc&) {
      }
      allocations_left = -1;
      if (made) thread.join();
      sigset_t mask;
      pthread_sigmask(SIG_SETMASK, nullptr, &mask);
      EXPECT_EQ(sigismember(&mask, SIGTERM), 0) << "after " << enough << " allocations";
    }
  });
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

TEST(ShareOut, NeedsNoMemory) {
  in_child([] {
    for (int enough = 0; enough < 20; ++enough) {
      std::array<std::atomic<int>, 1000> done{};
      const std::function<void(std::size_t)> work = [&](std::size_t part) { ++done[part]; };
      allocations_left = enough;
      share_out(4, done.size(), work);
      allocations_left = -1;
      for (const auto& times : done) EXPECT_EQ(times, 1) << "after " << enough << " allocations";
    }
  });
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
