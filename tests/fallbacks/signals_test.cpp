// Goal: signals that arrive while a load runs change nothing: none is handled on a thread of the library, and system
// calls that they interrupt go on.
// Method: a thread sends them without pause, to the process and to each of its threads; and to the test's own thread
// while it runs the load itself, so that the engine's waiting is truly interrupted.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>

#include "tests/fallbacks/engine_here.hpp"
#include "tests/fallbacks/whole_load.hpp"
#include "tests/loader/support/sanitized.hpp"

namespace sluice {
namespace {

std::atomic<int> handled = 0;
std::atomic<int> handled_elsewhere = 0;
std::atomic<pid_t> test_thread = 0;

extern "C" void count_signal(int) {
  ++handled;
  if (gettid() != test_thread) ++handled_elsewhere;
}

/// While it lives, SIGUSR1 is sent again and again by a thread that takes none itself.
class SignalStorm {
 public:
  explicit SignalStorm(std::function<void()> send) : send_(std::move(send)) {
    handled = 0;
    handled_elsewhere = 0;
    test_thread = gettid();
    struct sigaction action {};
    action.sa_handler = count_signal;  // with no SA_RESTART: calls that can be interrupted are
    sigaction(SIGUSR1, &action, nullptr);
    thread_ = std::thread([this] {
      sigset_t all;
      sigfillset(&all);
      pthread_sigmask(SIG_SETMASK, &all, nullptr);
      while (!stopping_) {
        send_();
        std::this_thread::yield();
      }
    });
  }
  ~SignalStorm() {
    stopping_ = true;
    thread_.join();  // the handler stays: a sanitizer may deliver late
  }
  SignalStorm(const SignalStorm&) = delete;
  SignalStorm& operator=(const SignalStorm&) = delete;

 private:
  std::function<void()> send_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

class Signals : public testing::TestWithParam<ReaderKind> {
 protected:
  void SetUp() override {
    if (GetParam() == ReaderKind::uring && !ring_refusal().empty()) GTEST_SKIP() << ring_refusal();
    write_shard(folder_, "a.safetensors", small_model);
    options_.reader = GetParam();
  }

  // Both ways of reading, until enough signals have come; sanitizers deliver them late and few.
  template <typename Body>
  void until_interrupted_often(const Body& body) {
    while (handled < (sanitized ? 50 : 500)) {
      for (const IoMode io : {IoMode::direct, IoMode::buffered}) {
        options_.io = io;
        body();
      }
    }
  }

  const TemporaryFolder folder_;
  Options options_ = small_options();
};

TEST_P(Signals, AreHandledByNoThreadOfTheLibrary) {
  const SignalStorm storm([] {
    kill(getpid(), SIGUSR1);
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      syscall(SYS_tgkill, getpid(), std::stoi(task.path().filename()), SIGUSR1);
    }
  });
  until_interrupted_often([this] {
    for (const Target& target : targets) load_whole(folder_.path(), small_model, target, options_);
  });
  EXPECT_EQ(handled_elsewhere, 0);
}

TEST_P(Signals, MayInterruptTheEngineItself) {
  const pthread_t engine_thread = pthread_self();
  const SignalStorm storm([engine_thread] { pthread_kill(engine_thread, SIGUSR1); });
  until_interrupted_often([this] {
    EngineHere engine(options_);
    for (const Target& target : targets) {
      expect_delivered(engine.run(plan_for(folder_.path(), target, options_)), small_model, target.cast);
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Readers, Signals, testing::Values(ReaderKind::uring, ReaderKind::pread));

}  // namespace
}  // namespace sluice
