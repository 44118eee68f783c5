// Goal: whoever sleeps on a bell that is rung is woken, however many are rung at a time, and bells come and go
// meanwhile. Method: threads that each count what they are sent, and are sent the next when all have counted.
#include "loader/base/waker.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <thread>
#include <utility>

namespace sluice {
namespace {

class Sleeper {
 public:
  explicit Sleeper(std::shared_ptr<Waker> waker)
      : bell_(std::move(waker), changed_), thread_([this] { count_to_end(); }) {}
  ~Sleeper() {
    send(-1);
    thread_.join();
  }
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;

  void send(int number) {
    {
      const MutexLock lock(mutex_);
      sent_ = number;
    }
    bell_.ring();
  }
  void wait_for(int number) {
    MutexLock lock(mutex_);
    while (seen_ != number) answered_.wait(lock);
  }

 private:
  void count_to_end() {
    MutexLock lock(mutex_);
    while (sent_ != -1) {
      while (seen_ == sent_) changed_.wait(lock);
      seen_ = sent_;
      answered_.notify_one();
    }
  }

  Mutex mutex_;
  Condition changed_;
  Condition answered_;
  int sent_ SLUICE_GUARDED_BY(mutex_) = 0;
  int seen_ SLUICE_GUARDED_BY(mutex_) = 0;
  Waker::Bell bell_;
  std::thread thread_;
};

void wake_all_often(const std::shared_ptr<Waker>& waker) {
  std::deque<Sleeper> sleepers;
  for (int i = 0; i < 8; ++i) sleepers.emplace_back(waker);
  for (int number = 1; number <= 200; ++number) {
    for (Sleeper& sleeper : sleepers) sleeper.send(number);
    for (Sleeper& sleeper : sleepers) sleeper.wait_for(number);
  }
}

TEST(Waker, WakesEachWhoseBellIsRung) {
  wake_all_often(std::make_shared<Waker>());
}

TEST(Waker, BellsWithoutOneWakeByThemselves) {
  wake_all_often(nullptr);
}

TEST(Waker, BellsComeAndGoWhileOthersRing) {
  const auto waker = std::make_shared<Waker>();
  std::thread other([&] {
    for (int i = 0; i < 20; ++i) const Sleeper comes_and_goes(waker);
  });
  wake_all_often(waker);
  other.join();
}

}  // namespace
}  // namespace sluice
