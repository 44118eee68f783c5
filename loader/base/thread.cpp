#include "loader/base/thread.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "sluice/error.hpp"

namespace sluice {

std::thread start_thread(const char* name, std::function<void()> body) {
  // A new thread inherits the mask of the one that makes it.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread;
  std::string refusal;
  try {
    thread = std::thread(std::move(body));
  } catch (const std::system_error& error) {
    refusal = error.code().message();
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (!thread.joinable()) {
    throw Error(ErrorCode::system, fmt::format("no thread could be made: {}", refusal), {},
                "raise the limit of threads (ulimit -u, pids.max of the container)");
  }
  pthread_setname_np(thread.native_handle(), std::string(name).substr(0, 15).c_str());
  return thread;
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
  std::vector<std::thread> others;
  others.reserve(std::min<std::size_t>(threads, parts));
  try {
    while (others.size() + 1 < std::min<std::size_t>(threads, parts)) {
      others.push_back(start_thread("sluice-share", take_parts));
    }
  } catch (const Error&) {
    // The calling thread does what the others cannot.
  }
  take_parts();
  for (std::thread& other : others) other.join();
}

}  // namespace sluice
