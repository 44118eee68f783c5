#include "loader/base/thread.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <exception>
#include <system_error>
#include <utility>
#include <vector>

#include "sluice/error.hpp"

namespace sluice {

namespace {

/// Blocks signals for as long as it lives; a thread that is made meanwhile inherits that.
class BlockedSignals {
 public:
  BlockedSignals() noexcept {
    sigset_t blocked;
    sigfillset(&blocked);
    // A fault belongs to the thread that has it: were its signal blocked there, the process would end without the
    // application's handler. With SIGPROF profilers look at every thread.
    for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS, SIGTRAP, SIGABRT}) sigdelset(&blocked, signal);
    pthread_sigmask(SIG_SETMASK, nullptr, &before_);
    if (sigismember(&before_, SIGPROF) == 0) sigdelset(&blocked, SIGPROF);
    pthread_sigmask(SIG_SETMASK, &blocked, nullptr);
  }
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_;
};

/// Joined when they go, however that comes.
class Helpers {
 public:
  Helpers() = default;
  ~Helpers() {
    for (std::thread& thread : threads_) thread.join();
  }
  Helpers(const Helpers&) = delete;
  Helpers& operator=(const Helpers&) = delete;

  /// Makes up to `count`; as many as there can be.
  template <typename Body>
  void start(std::size_t count, const Body& body) noexcept {
    try {
      threads_.reserve(count);
      while (threads_.size() < count) threads_.push_back(start_thread("sluice-share", body));
    } catch (const std::exception&) {
      // No memory, or no thread: the others do its part.
    }
  }

 private:
  std::vector<std::thread> threads_;
};

}  // namespace

std::thread start_thread(const char* name, std::function<void()> body) {
  std::array<char, 16> kept{};
  std::strncpy(kept.data(), name, kept.size() - 1);
  std::thread thread;
  try {
    const BlockedSignals blocked;
    // It names itself, too: until it is named it goes by the name of the thread that makes it.
    thread = std::thread([kept, work = std::move(body)] {
      pthread_setname_np(pthread_self(), kept.data());
      work();
    });
  } catch (const std::system_error& error) {
    throw Error(ErrorCode::system, fmt::format("no thread could be made: {}", error.code().message()), {},
                "raise the limit of threads (ulimit -u, pids.max of the container)");
  }
  // Nothing may throw from here on: the thread runs.
  pthread_setname_np(thread.native_handle(), kept.data());
  return thread;
}

void on_own_thread(const char* name, const std::function<void()>& work) {
  std::exception_ptr error;
  start_thread(name, [&] {
    try {
      work();
    } catch (...) {
      error = std::current_exception();
    }
  }).join();
  if (error != nullptr) std::rethrow_exception(std::move(error));
}

void rather_on_own_thread(const char* name, const std::function<void()>& work) noexcept {
  try {
    start_thread(name, [&work] { work(); }).join();
    return;
  } catch (const std::exception&) {
    // Nothing has been done.
  }
  work();
}

unsigned processor_count() noexcept {
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) return static_cast<unsigned>(CPU_COUNT(&mask));
  return std::max(1u, std::thread::hardware_concurrency());  // more than CPU_SETSIZE processors
}

void share_out(unsigned threads, std::size_t parts, const std::function<void(std::size_t)>& work) {
  std::atomic<std::size_t> next = 0;
  const auto take_parts = [&] {
    for (std::size_t part = next++; part < parts; part = next++) work(part);
  };
  Helpers helpers;
  const std::size_t wanted = std::min<std::size_t>(threads, parts);
  if (wanted > 1) helpers.start(wanted - 1, take_parts);
  take_parts();
}

}  // namespace sluice
