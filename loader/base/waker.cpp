#include "loader/base/waker.hpp"

#include <utility>

#include "loader/base/thread.hpp"

namespace sluice {

Waker::Waker() : thread_(start_thread("sluice-waker", [this] { wake_others(); })) {}

Waker::~Waker() {
  {
    const MutexLock lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Waker::Bell::Bell(std::shared_ptr<Waker> waker, Condition& sleeping) : waker_(std::move(waker)), sleeping_(sleeping) {
  if (waker_ == nullptr) return;
  const MutexLock lock(waker_->bells_mutex_);
  waker_->bells_.push_back(this);
}

Waker::Bell::~Bell() {
  if (waker_ == nullptr) return;
  const MutexLock lock(waker_->bells_mutex_);
  std::erase(waker_->bells_, this);
}

void Waker::Bell::ring() noexcept {
  if (waker_ == nullptr) return sleeping_.notify_one();
  rung_ = true;
  waker_->wake();
}

// Whoever finds that somebody has called already has rung its bell before the thread looks.
void Waker::wake() noexcept {
  if (called_.exchange(true)) return;
  {
    const MutexLock lock(mutex_);
    awake_ = true;
  }
  changed_.notify_one();
}

void Waker::wake_others() noexcept {
  while (wait()) {
    const MutexLock lock(bells_mutex_);
    for (Bell* const bell : bells_) {
      if (bell->rung_.exchange(false)) bell->sleeping_.notify_one();
    }
  }
}

/// False once it ends.
bool Waker::wait() noexcept {
  MutexLock lock(mutex_);
  while (!awake_ && !closing_) changed_.wait(lock);
  awake_ = false;
  called_ = false;
  return !closing_;
}

}  // namespace sluice
