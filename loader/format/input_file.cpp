#include "loader/format/input_file.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "loader/base/regular_file.hpp"

namespace sluice {

namespace fs = std::filesystem;

Error refusal_to_open(const fs::path& path, const char* what, int error) {
  std::error_code ignored;
  if (error == ENOENT && fs::is_symlink(path, ignored)) {
    return Error(ErrorCode::not_found,
                 fmt::format("the {} is a symbolic link to nothing: {} does not exist", what,
                             fs::read_symlink(path, ignored).string()),
                 {path.string(), {}, {}}, "download the checkpoint again");
  }
  const char* way_out = "check the path";
  if (error == EMFILE || error == ENFILE) way_out = "raise the limit of open descriptors (ulimit -n)";
  if (error == EACCES || error == EPERM) way_out = "allow this user to read it";
  if (error == EAGAIN) way_out = "another process holds a lease on it: try again once it has let go, or mount /proc";
  return Error(error == ENOENT ? ErrorCode::not_found : ErrorCode::io,
               fmt::format("the {} cannot be opened: {}", what, std::strerror(error)), {path.string(), {}, {}},
               way_out);
}

void read_range(int descriptor, const fs::path& path, char* target, std::uint64_t offset, std::uint64_t bytes) {
  for (std::uint64_t got = 0; got < bytes;) {
    const ssize_t now = pread(descriptor, target + got, bytes - got, static_cast<off_t>(offset + got));
    if (now > 0) {
      got += static_cast<std::uint64_t>(now);
    } else if (now == 0) {
      throw Error(ErrorCode::file_changed, "the file became shorter while it was read",
                  {path.string(), offset + got, {}}, "open it again once nothing writes to it any more");
    } else if (errno != EINTR) {
      throw Error(ErrorCode::io, fmt::format("reading failed: {}", std::strerror(errno)),
                  {path.string(), offset + got, {}}, "check the disk or file system (dmesg tells more)");
    }
  }
}

InputFile::InputFile(const fs::path& path, const char* what) : path_(path) {
  const OpenedFile file = open_regular_file(path);
  if (file.error != 0) throw refusal_to_open(path, what, file.error);
  status_ = file.status;
  if (file.descriptor < 0) refuse_kind(what);
  descriptor_ = file.descriptor;
}

InputFile::~InputFile() {
  close(descriptor_);
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
