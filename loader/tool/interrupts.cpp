#include "loader/tool/interrupts.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

#include "loader/base/thread.hpp"
#include "loader/tool/output.hpp"
#include "sluice/error.hpp"

namespace sluice::tool {

namespace {

constexpr int tick_ms = 100;

int checked(int descriptor, const char* call) {
  if (descriptor >= 0) return descriptor;
  throw Error(ErrorCode::system, fmt::format("{}: {}", call, std::generic_category().message(errno)), {},
              "raise the limit of open descriptors (ulimit -n)");
}

}  // namespace

Interrupts::Interrupts() {
  // Blocked, not ignored: a signal that is blocked waits for signalfd even where the parent process had it ignored.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // fails only for arguments that are no such thing
  signal_descriptor_ = checked(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd");
  wake_descriptor_ = checked(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");
  thread_ = start_thread("sluice-signals", [this] { watch(); });
}

Interrupts::~Interrupts() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  set({}, {}, false);
  thread_.join();
  close(wake_descriptor_);
  close(signal_descriptor_);
}

void Interrupts::set(std::function<void()> on_signal, std::function<void()> on_tick, bool guarded) {
  {
    const MutexLock lock(mutex_);
    on_signal_ = std::move(on_signal);
    on_tick_ = std::move(on_tick);
    guarded_ = guarded;
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written =
      write(wake_descriptor_, &one, sizeof one);  // fails only when already readable
}

Interrupts::Guard::Guard(Interrupts& interrupts, std::function<void()> on_signal, std::function<void()> on_tick)
    : interrupts_(interrupts) {
  interrupts_.set(std::move(on_signal), std::move(on_tick), true);
}

Interrupts::Guard::~Guard() {
  interrupts_.set({}, {}, false);
}

void Interrupts::watch() {
  while (true) {
    bool ticking = false;
    {
      const MutexLock lock(mutex_);
      if (stopping_) return;
      if (on_tick_) on_tick_();
      ticking = static_cast<bool>(on_tick_);
    }
    std::array<pollfd, 2> ready = {{{signal_descriptor_, POLLIN, 0}, {wake_descriptor_, POLLIN, 0}}};
    poll(ready.data(), ready.size(), ticking ? tick_ms : -1);
    if (ready[1].revents != 0) {
      std::uint64_t ignored = 0;
      [[maybe_unused]] const ssize_t taken = read(wake_descriptor_, &ignored, sizeof ignored);
    }
    if (ready[0].revents != 0) take_signal();
  }
}

void Interrupts::take_signal() {
  signalfd_siginfo info = {};
  if (read(signal_descriptor_, &info, sizeof info) != sizeof info) return;
  const int number = static_cast<int>(info.ssi_signo);
  const MutexLock lock(mutex_);
  if (!guarded_ || signal_.load() != 0) {
    diagnose("interrupted");
    _exit(128 + number);
  }
  signal_ = number;
  if (on_signal_) on_signal_();
}

}  // namespace sluice::tool
