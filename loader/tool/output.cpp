#include "loader/tool/output.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <system_error>
#include <utility>

#include "loader/tool/text.hpp"

namespace sluice::tool {

namespace {

constexpr std::size_t buffer_bytes = 256 * 1024;

std::string advice(int error) {
  switch (error) {
    case EPIPE:
      return "whatever read it has ended; let it read to the end";
    case ENOSPC:
    case EDQUOT:
      return "free some space or write elsewhere";
    case EFBIG:
      return "raise the limit of a file's size (ulimit -f), or write elsewhere";
    case EMFILE:
    case ENFILE:
      return "raise the limit of open descriptors (ulimit -n)";
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case EACCES:
    case EPERM:
    case EROFS:
      return "name a file in a folder that exists and can be written";
    default:
      return "send it to a file or a pipe that can be written";
  }
}

}  // namespace

Output::Output(int descriptor, std::string name) : descriptor_(descriptor), name_(std::move(name)) {
  const int flags = fcntl(descriptor, F_GETFL);
  if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) refuse_output(name_, EBADF);
}

void Output::write(std::string_view text) {
  buffer_ += text;
  if (buffer_.size() >= buffer_bytes) flush();
}

void Output::flush() {
  std::string_view rest = buffer_;
  while (!rest.empty()) {
    const ssize_t written = ::write(descriptor_, rest.data(), rest.size());
    if (written >= 0) {
      rest.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd ready{descriptor_, POLLOUT, 0};  // a pipe that somebody made non-blocking
      poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      refuse_output(name_, errno);
    }
  }
  buffer_.clear();
}

void Output::finish() {
  flush();
  if (close(descriptor_) != 0 && errno != EINTR) refuse_output(name_, errno);
}

void refuse_output(const std::string& name, int error) {
  throw OutputError(
      fmt::format("cannot write {}: {}; {}", name, std::generic_category().message(error), advice(error)));
}

void occupy_standard_descriptors() noexcept {
  for (const int descriptor : {0, 1, 2}) {
    // The lowest free descriptor is taken, which is this one, since all below it are open by now.
    if (fcntl(descriptor, F_GETFD) < 0) [[maybe_unused]]
      const int taken = open("/dev/null", O_RDONLY);
  }
}

void diagnose(std::string_view message) noexcept {
  try {
    std::string line = "sluice: ";
    append_escaped(line, message);
    line += '\n';
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());  // nowhere left to tell
  } catch (const std::bad_alloc&) {
    static constexpr std::string_view short_of_memory = "sluice: out of memory\n";
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, short_of_memory.data(), short_of_memory.size());
  }
}

}  // namespace sluice::tool
