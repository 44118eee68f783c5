// A lease on a file, as servers of network file systems hold them: whoever opens the file waits until it is let go.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <string>

namespace sluice {

/// Made and let go of on one thread, before any other that opens the file is started: those must inherit its signal
/// mask.
class Lease {
 public:
  explicit Lease(const std::filesystem::path& path) : descriptor_(open(path.c_str(), O_RDWR | O_CLOEXEC)) {
    sigemptyset(&asked_);
    sigaddset(&asked_, SIGIO);
    pthread_sigmask(SIG_BLOCK, &asked_, &before_);
    if (descriptor_ < 0 || fcntl(descriptor_, F_SETLEASE, F_WRLCK) != 0) {
      refusal_ = std::string("no lease may be had here: ") + std::strerror(errno);
    }
  }
  ~Lease() {
    close(descriptor_);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  /// Empty where it is held.
  const std::string& refusal() const noexcept { return refusal_; }

  /// Waits until somebody opens the file.
  void wait_until_asked_for() const {
    int signal = 0;
    sigwait(&asked_, &signal);
  }

  void let_go() const { fcntl(descriptor_, F_SETLEASE, F_UNLCK); }

 private:
  int descriptor_;
  sigset_t asked_{};
  sigset_t before_{};
  std::string refusal_;
};

}  // namespace sluice
