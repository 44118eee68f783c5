#include "loader/thread.hpp"

#include <fmt/format.h>
#include <pthread.h>

#include <csignal>
#include <string>
#include <system_error>
#include <utility>

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

}  // namespace sluice
