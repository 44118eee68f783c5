#include "loader/read/shard_files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "loader/base/limits.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

constexpr const char* changed_hint = "open the checkpoint again once nothing writes to it any more";

}  // namespace

ShardFiles::ShardFiles(const PlanData& plan, Reader& reader, IoMode io, std::vector<Fallback>& fallbacks)
    : plan_(plan), reader_(reader), io_(io), fallbacks_(fallbacks), files_(plan.catalogue->shards.size()) {
  for (const Extent& extent : plan.extents) ++files_[extent.shard].extents_left;
}

ShardFiles::~ShardFiles() {
  for (std::uint32_t shard = 0; shard < files_.size(); ++shard) close(shard);
}

ShardFiles::File* ShardFiles::open(std::uint32_t shard) {
  File& file = files_[shard];
  if (file.descriptor >= 0) return &file;
  const std::string path = plan_.catalogue->shards[shard].path.string();
  file.descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a FIFO put in its place must not block
  if (file.descriptor < 0) {
    if ((errno == EMFILE || errno == ENFILE) && open_count_ > 0) return nullptr;
    const int error = errno;
    throw Error(error == ENOENT ? ErrorCode::not_found : ErrorCode::io,
                fmt::format("the shard cannot be opened: {}", std::strerror(error)), {path, {}, {}},
                error == EMFILE || error == ENFILE ? "raise the limit of open descriptors (ulimit -n)" : changed_hint);
  }
  ++open_count_;
  check_unchanged(shard);
  file.buffered = reader_.add_file(file.descriptor);
  if (io_ != IoMode::buffered) open_direct(shard);
  return &file;
}

void ShardFiles::open_direct(std::uint32_t shard) {
  File& file = files_[shard];
  const Shard& about = plan_.catalogue->shards[shard];
  if (about.direct_offset_alignment > limits::direct_alignment_bytes ||
      about.direct_memory_alignment > limits::direct_alignment_bytes) {
    return tell_direct_refused(shard,
                               fmt::format("its file system asks for an alignment of {} bytes, {} are offered",
                                           std::max(about.direct_offset_alignment, about.direct_memory_alignment),
                                           limits::direct_alignment_bytes));
  }
  file.direct_descriptor = ::open(about.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_DIRECT);
  if (file.direct_descriptor < 0) {
    // A process without descriptors reads this one shard buffered; that is no property of the file system.
    return tell_direct_refused(shard, fmt::format("open: {}", std::strerror(errno)));
  }
  // The path may have been replaced between the two opens: both must be the same file.
  struct stat plain {};
  struct stat direct {};
  if (fstat(file.descriptor, &plain) != 0 || fstat(file.direct_descriptor, &direct) != 0 ||
      plain.st_ino != direct.st_ino || plain.st_dev != direct.st_dev) {
    ::close(file.direct_descriptor);
    file.direct_descriptor = -1;
    throw Error(ErrorCode::file_changed, "the shard was replaced while it was opened", {about.path.string(), {}, {}},
                changed_hint);
  }
  file.direct = reader_.add_file(file.direct_descriptor);
  file.takes_direct = true;
}

void ShardFiles::done_with_extent(std::uint32_t shard) {
  check_unchanged(shard);
  if (--files_[shard].extents_left == 0) close(shard);
}

void ShardFiles::refuse_direct(std::uint32_t shard, int error) {
  if (!files_[shard].takes_direct) return;
  files_[shard].takes_direct = false;  // the descriptor stays until the shard is closed: other reads may be in flight
  tell_direct_refused(shard, fmt::format("read: {}", std::strerror(error)));
}

void ShardFiles::throw_ended_early(std::uint32_t shard, std::uint64_t offset) const {
  const Shard& about = plan_.catalogue->shards[shard];
  throw Error(ErrorCode::file_changed,
              fmt::format("the shard ends early: it had {} bytes when its header was read", about.bytes),
              {about.path.string(), offset, {}}, changed_hint);
}

void ShardFiles::leave_reader() noexcept {
  for (File& file : files_) file.buffered = file.direct = File::unknown;
}

void ShardFiles::close(std::uint32_t shard) noexcept {
  File& file = files_[shard];
  if (file.direct_descriptor >= 0) {
    if (file.direct != File::unknown) reader_.remove_file(std::exchange(file.direct, File::unknown));
    ::close(file.direct_descriptor);
    file.direct_descriptor = -1;
    file.takes_direct = false;
  }
  if (file.descriptor >= 0) {
    if (file.buffered != File::unknown) reader_.remove_file(std::exchange(file.buffered, File::unknown));
    ::close(file.descriptor);
    file.descriptor = -1;
    --open_count_;
  }
}

void ShardFiles::check_unchanged(std::uint32_t shard) const {
  const Shard& about = plan_.catalogue->shards[shard];
  struct stat now {};
  const bool same_file = fstat(files_[shard].descriptor, &now) == 0 && S_ISREG(now.st_mode) &&
                         now.st_dev == about.device && now.st_ino == about.inode;
  const auto bytes = static_cast<std::uint64_t>(now.st_size);
  if (same_file && bytes != about.bytes) {
    throw Error(ErrorCode::file_changed,
                fmt::format("the shard has {} bytes now; it had {} when its header was read", bytes, about.bytes),
                {about.path.string(), std::min(bytes, about.bytes), {}}, changed_hint);
  }
  if (same_file && bytes == about.bytes &&
      now.st_mtim.tv_sec * 1'000'000'000 + now.st_mtim.tv_nsec == about.modified_ns) {
    return;
  }
  throw Error(ErrorCode::file_changed, "the shard was replaced or written to after its header was read",
              {about.path.string(), {}, {}}, changed_hint);
}

void ShardFiles::tell_direct_refused(std::uint32_t shard, const std::string& reason) {
  if (told_direct_refused_) return;
  told_direct_refused_ = true;
  fallbacks_.push_back({"O_DIRECT", fmt::format("{}: {}; read through the page cache instead",
                                                plan_.catalogue->shards[shard].path.string(), reason)});
}

}  // namespace sluice
