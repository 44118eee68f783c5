#include "loader/base/wakeup.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "sluice/error.hpp"

namespace sluice {

Wakeup::Wakeup() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (fd_ < 0) {
    throw Error(ErrorCode::system, fmt::format("no eventfd: {}", std::strerror(errno)), {},
                "raise the limit of open descriptors (ulimit -n)");
  }
}

Wakeup::~Wakeup() {
  close(fd_);
}

void Wakeup::notify() noexcept {
  const std::uint64_t one = 1;
  // Fails only when the counter is full, and then the engine is awake as it is.
  [[maybe_unused]] const auto written = write(fd_, &one, sizeof one);
}

void Wakeup::wait() const {
  pollfd notified{fd_, POLLIN, 0};
  if (poll(&notified, 1, -1) < 0 && errno != EINTR) {
    throw Error(ErrorCode::system, fmt::format("poll on an eventfd: {}", std::strerror(errno)), {},
                "lift the seccomp filter or the limit that refuses it");
  }
}

void Wakeup::clear() noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = read(fd_, &count, sizeof count);
}

}  // namespace sluice
