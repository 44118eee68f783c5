#include "loader/format/input_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "sluice/error.hpp"

namespace sluice {

namespace fs = std::filesystem;

InputFile::InputFile(const fs::path& path, const char* what) : path_(path) {
  // Looked at before it is opened, since to open a device may act on it, and again once it is open, since only then is
  // it sure to stay what it is.
  if (stat(path.c_str(), &status_) != 0) refuse_to_open(what, errno);
  if (!S_ISREG(status_.st_mode)) refuse_kind(what);
  descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (descriptor_ < 0) refuse_to_open(what, errno);
  if (fstat(descriptor_, &status_) == 0 && S_ISREG(status_.st_mode)) return;
  close(descriptor_);
  refuse_kind(what);
}

InputFile::~InputFile() {
  close(descriptor_);
}

void InputFile::read(char* target, std::uint64_t offset, std::uint64_t bytes) const {
  for (std::uint64_t got = 0; got < bytes;) {
    const ssize_t now = pread(descriptor_, target + got, bytes - got, static_cast<off_t>(offset + got));
    if (now > 0) {
      got += static_cast<std::uint64_t>(now);
    } else if (now == 0) {
      throw Error(ErrorCode::file_changed, "the file became shorter while it was read",
                  {path_.string(), offset + got, {}}, "open it again once nothing writes to it any more");
    } else if (errno != EINTR) {
      throw Error(ErrorCode::io, fmt::format("reading failed: {}", std::strerror(errno)),
                  {path_.string(), offset + got, {}}, "check the disk or file system (dmesg tells more)");
    }
  }
}

void InputFile::refuse_to_open(const char* what, int error) const {
  std::error_code ignored;
  const bool is_link = fs::is_symlink(path_, ignored);
  const bool dangles = error == ENOENT && is_link;
  throw Error(error == ENOENT ? ErrorCode::not_found : ErrorCode::io,
              dangles ? fmt::format("the {} is a symbolic link to nothing: {} does not exist", what,
                                    fs::read_symlink(path_, ignored).string())
                      : fmt::format("the {} cannot be opened: {}", what, std::strerror(error)),
              {path_.string(), {}, {}},
              dangles                              ? "download the checkpoint again"
              : error == EMFILE || error == ENFILE ? "raise the limit of open descriptors (ulimit -n)"
              : error == EACCES || error == EPERM  ? "allow this user to read it"
                                                   : "check the path");
}

void InputFile::refuse_kind(const char* what) const {
  const mode_t mode = status_.st_mode;
  const char* const kind = S_ISDIR(mode)    ? "a folder"
                           : S_ISFIFO(mode) ? "a named pipe"
                           : S_ISSOCK(mode) ? "a socket"
                                            : "a device";
  throw Error(ErrorCode::io, fmt::format("{} lies where the {} should be", kind, what), {path_.string(), {}, {}},
              "give a regular file: sluice reads at offsets");
}

}  // namespace sluice
