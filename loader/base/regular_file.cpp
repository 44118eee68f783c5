#include "loader/base/regular_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "loader/base/file_identity.hpp"

namespace sluice {
namespace {

/// open(2), begun again where a signal ends its wait.
int open_whatever_signals(const char* path, int flags) noexcept {
  for (;;) {
    const int descriptor = open(path, O_CLOEXEC | flags);
    if (descriptor >= 0 || errno != EINTR) return descriptor;
  }
}

/// Opens the very file that is open as `descriptor`, wherever it has been moved to. ENOENT: there is no /proc.
int open_by_descriptor(int descriptor, int flags) noexcept {
  constexpr char folder[] = "/proc/self/fd/";
  std::array<char, 32> path{};
  std::memcpy(path.data(), folder, sizeof folder - 1);
  std::to_chars(path.data() + sizeof folder - 1, path.data() + path.size() - 1, descriptor);
  return open_whatever_signals(path.data(), O_RDONLY | flags);
}

/// Fills in the status of what was opened, and closes all that is not a regular file.
void keep_if_regular(OpenedFile& file) noexcept {
  if (fstat(file.descriptor, &file.status) != 0) {
    file.error = errno;
  } else if (S_ISREG(file.status.st_mode)) {
    return;
  }
  close(file.descriptor);
  file.descriptor = -1;
}

/// Opens what lies at the path by now, with O_NONBLOCK until it is known to be a regular file.
OpenedFile open_without_proc(const std::filesystem::path& path, int flags) noexcept {
  OpenedFile file;
  file.descriptor = open_whatever_signals(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | flags);
  if (file.descriptor < 0) {
    file.error = errno;
    return file;
  }
  keep_if_regular(file);
  if (file.descriptor >= 0) fcntl(file.descriptor, F_SETFL, flags);
  return file;
}

}  // namespace

OpenedFile open_regular_file(const std::filesystem::path& path) noexcept {
  OpenedFile file;
  const int place = open_whatever_signals(path.c_str(), O_PATH);
  if (place < 0) {
    file.error = errno;
    return file;
  }
  if (fstat(place, &file.status) != 0) {
    file.error = errno;
  } else if (S_ISREG(file.status.st_mode)) {
    file.descriptor = open_by_descriptor(place, 0);
    if (file.descriptor >= 0) {
      keep_if_regular(file);  // asked again: network file systems are sure of size and times once a file is open
    } else if (errno == ENOENT) {
      file = open_without_proc(path, 0);
    } else {
      file.error = errno;
    }
  }
  close(place);
  return file;
}

int open_once_more(int descriptor, const std::filesystem::path& path, int flags) noexcept {
  const int again = open_by_descriptor(descriptor, flags);
  if (again >= 0 || errno != ENOENT) return again;
  struct stat first {};
  const OpenedFile second = open_without_proc(path, flags);
  const bool known = fstat(descriptor, &first) == 0;
  if (second.descriptor >= 0) {
    if (known && is_same_file(identity_of(first), identity_of(second.status)) == SameFile::yes) {
      return second.descriptor;
    }
    close(second.descriptor);
  }
  errno = second.error != 0 ? second.error : ESTALE;
  return -1;
}

}  // namespace sluice
