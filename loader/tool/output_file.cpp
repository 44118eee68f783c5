#include "loader/tool/output_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <system_error>
#include <utility>

#include "loader/tool/text.hpp"

namespace sluice::tool {
namespace {

// As many as the kernel follows.
constexpr int links_max = 40;
// Files of one name that processes with the same number may make in one folder: containers that share it.
constexpr int names_max = 100;

/// The path at the end of all links, whether or not anything is there yet.
std::filesystem::path follow_links(std::filesystem::path path) {
  std::error_code error;
  for (int links = 0; links < links_max; ++links) {
    const std::filesystem::path next = std::filesystem::read_symlink(path, error);
    if (error) return path;
    path = path.parent_path() / next;  // `next` alone where it is absolute
  }
  return path;  // opening it answers ELOOP
}

bool is_mount_point(const std::filesystem::path& path) {
  struct statx about = {};
  return statx(AT_FDCWD, path.c_str(), 0, 0, &about) == 0 && (about.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

/// Which of standard output and standard error writes to the file, or -1.
int standard_stream_of(const struct stat& status) {
  for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) {
    struct stat open_file {};
    const int flags = fcntl(stream, F_GETFL);
    if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY && fstat(stream, &open_file) == 0 &&
        open_file.st_dev == status.st_dev && open_file.st_ino == status.st_ino) {
      return stream;
    }
  }
  return -1;
}

}  // namespace

OutputFile::OutputFile(std::filesystem::path path, std::string beginning)
    : path_(std::move(path)), beginning_(std::move(beginning)), target_(follow_links(path_)) {
  struct stat status {};
  const bool exists = stat(path_.c_str(), &status) == 0;
  if (!exists && errno != ENOENT) refuse_output(path_.native(), errno);
  const int stream = exists && !S_ISDIR(status.st_mode) ? standard_stream_of(status) : -1;
  in_place_ = exists && (stream >= 0 || !S_ISREG(status.st_mode) || status.st_nlink == 0 || is_mount_point(path_));
  if (stream < 0 && exists && S_ISREG(status.st_mode)) check_replaceable();
  if (in_place_) {
    // A file that is a standard stream, too, goes on where that stands.
    descriptor_ = stream >= 0 ? fcntl(stream, F_DUPFD_CLOEXEC, 0) : open(path_.c_str(), O_WRONLY | O_CLOEXEC);
    if (descriptor_ < 0) refuse_output(path_.native(), errno);
    return;
  }
  // Whether the folder can be written is seen by writing to it.
  close(open_beside());
  unlink(beside_.c_str());
  beside_.clear();
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (!beside_.empty()) unlink(beside_.c_str());
}

void OutputFile::check_replaceable() const {
  // For writing, too: a file that is protected against that stays.
  const int file = open(path_.c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) refuse_output(path_.native(), errno);
  std::string found(beginning_.size(), '\0');
  const ssize_t got = pread(file, found.data(), found.size(), 0);
  const int error = errno;
  close(file);
  if (got < 0) refuse_output(path_.native(), error);
  if (got == 0 || found == beginning_) return;
  throw OutputError(
      fmt::format("cannot write {}: it holds something else, which would be lost; name a new file", path_.native()));
}

int OutputFile::open_beside() {
  struct stat status {};
  const bool exists = stat(target_.c_str(), &status) == 0;
  for (int number = 0; number < names_max; ++number) {
    beside_ = target_.parent_path() / fmt::format(".sluice-{}-{}", getpid(), number);
    const int file = open(beside_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file >= 0) {
      // A file that is replaced hands its permissions on, and its owner where the system allows that.
      if (exists) {
        [[maybe_unused]] const int owner = fchown(file, status.st_uid, status.st_gid);
        [[maybe_unused]] const int mode = fchmod(file, status.st_mode & 0777);
      }
      return file;
    }
    if (errno != EEXIST) break;
  }
  const int error = errno;
  beside_.clear();
  refuse_output(path_.native(), error);
}

Output& OutputFile::begin() {
  if (!in_place_) {
    descriptor_ = open_beside();
  } else if (struct stat status{}; fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode) &&
                                   standard_stream_of(status) < 0 && ftruncate(descriptor_, 0) != 0) {
    refuse_output(path_.native(), errno);
  }
  return output_.emplace(descriptor_, path_.native());
}

void OutputFile::finish() {
  descriptor_ = -1;  // the output closes it
  output_->finish();
  if (in_place_) return;
  struct stat status {};
  if (stat(target_.c_str(), &status) == 0) check_replaceable();  // who knows what came to lie there meanwhile
  if (rename(beside_.c_str(), target_.c_str()) != 0) refuse_output(path_.native(), errno);
  beside_.clear();
}

}  // namespace sluice::tool
