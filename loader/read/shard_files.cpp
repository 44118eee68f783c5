#include "loader/read/shard_files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <utility>

#include "loader/base/file_identity.hpp"
#include "loader/base/limits.hpp"
#include "loader/format/catalogue.hpp"
#include "loader/format/header_reader.hpp"
#include "loader/format/input_file.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

constexpr const char* changed_hint = "open the checkpoint again once nothing writes to it any more";

bool lacks_descriptors(int error) {
  return error == EMFILE || error == ENFILE;
}

/// Shards that may be open at a time, with two descriptors each: a quarter of those that the process has left.
std::size_t shards_open_most() {
  constexpr rlim_t share = 4;
  constexpr rlim_t per_shard = 2;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
  struct stat taken {};  // its size is their count, from Linux 6.2 on; before, it is 0
  if (stat("/proc/self/fd", &taken) != 0) taken.st_size = 0;
  const rlim_t left = limit.rlim_cur - std::min(limit.rlim_cur, static_cast<rlim_t>(taken.st_size));
  return static_cast<std::size_t>(std::clamp<rlim_t>(left / (share * per_shard), 1, limits::shards_open_max));
}

}  // namespace

ShardFiles::ShardFiles(const PlanData& plan, Reader& reader, IoMode io, std::vector<Fallback>& fallbacks)
    : plan_(plan),
      reader_(reader),
      io_(io),
      open_most_(shards_open_most()),
      fallbacks_(fallbacks),
      files_(plan.catalogue->shards.size()) {
  for (const Extent& extent : plan.extents) ++files_[extent.shard].extents_left;
  open_.reserve(std::min(open_most_, files_.size()));
}

ShardFiles::~ShardFiles() {
  while (!open_.empty()) close(open_.back());
}

ShardFiles::File* ShardFiles::open(std::uint32_t shard) {
  File& file = files_[shard];
  if (file.descriptor >= 0) return &file;
  if (open_.size() >= open_most_ && !close_an_idle_one()) return nullptr;
  const OpenedFile opened = open_with_what_is_left(shard);
  if (lacks_descriptors(opened.error) && !open_.empty()) return nullptr;
  const std::filesystem::path& path = plan_.catalogue->shards[shard].path;
  if (opened.error == ENOENT) {
    throw Error(ErrorCode::not_found, "the shard was removed after its header was read", {path.string(), {}, {}},
                changed_hint);
  }
  if (opened.error != 0) throw refusal_to_open(path, "shard", opened.error);
  if (opened.descriptor < 0) throw_changed(shard, plan_.catalogue->shards[shard].bytes, "replaced");
  file.descriptor = opened.descriptor;
  open_.push_back(shard);  // there is room
  try {
    check_opened(shard, opened.status);
    file.buffered = reader_.add_file(file.descriptor);
    if (io_ != IoMode::buffered && !file.refused_direct) open_direct(shard);
  } catch (...) {
    close(shard);
    throw;
  }
  return &file;
}

OpenedFile ShardFiles::open_with_what_is_left(std::uint32_t shard) {
  for (;;) {
    const OpenedFile opened = open_regular_file(plan_.catalogue->shards[shard].path);
    if (!lacks_descriptors(opened.error) || !close_an_idle_one()) return opened;
  }
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
  file.direct_descriptor = open_once_more(file.descriptor, about.path, O_DIRECT);
  if (file.direct_descriptor < 0) {
    // A process without descriptors reads this one shard buffered; that is no property of the file system.
    return tell_direct_refused(shard, fmt::format("open: {}", std::strerror(errno)));
  }
  file.direct = reader_.add_file(file.direct_descriptor);
  file.takes_direct = true;
}

void ShardFiles::begin_extent(std::uint32_t shard) noexcept {
  assert(files_[shard].descriptor >= 0);
  ++files_[shard].in_flight;
}

void ShardFiles::done_with_extent(std::uint32_t shard) {
  File& file = files_[shard];
  assert(file.in_flight > 0);
  --file.in_flight;
  check_unwritten(shard);
  if (--file.extents_left == 0) close(shard);
}

void ShardFiles::refuse_direct(std::uint32_t shard, int error) {
  File& file = files_[shard];
  if (!file.takes_direct) return;
  file.takes_direct = false;  // the descriptor stays until the shard is closed: other reads may be in flight
  file.refused_direct = true;
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

bool ShardFiles::close_an_idle_one() noexcept {
  const auto idle = std::ranges::find_if(open_, [&](std::uint32_t shard) { return files_[shard].in_flight == 0; });
  if (idle == open_.end()) return false;
  close(*idle);
  return true;
}

void ShardFiles::close(std::uint32_t shard) noexcept {
  File& file = files_[shard];
  file.takes_direct = false;
  if (file.direct != File::unknown) reader_.remove_file(std::exchange(file.direct, File::unknown));
  if (file.buffered != File::unknown) reader_.remove_file(std::exchange(file.buffered, File::unknown));
  if (file.direct_descriptor >= 0) ::close(std::exchange(file.direct_descriptor, -1));
  ::close(std::exchange(file.descriptor, -1));
  std::erase(open_, shard);
}

void ShardFiles::check_opened(std::uint32_t shard, const struct stat& status) const {
  const ShardIdentity& validated = plan_.catalogue->identities[shard];
  const FileIdentity now = identity_of(status);
  switch (is_same_file(validated.file, now)) {
    case SameFile::yes:
      return;
    case SameFile::perhaps:
      if (read_header_digest(files_[shard].descriptor, plan_.catalogue->shards[shard]) == validated.header_digest) {
        return;
      }
      [[fallthrough]];
    case SameFile::no:
      throw_changed(shard, now.bytes, "replaced or written to");
  }
}

void ShardFiles::check_unwritten(std::uint32_t shard) const {
  struct stat status {};
  if (fstat(files_[shard].descriptor, &status) != 0) {
    throw Error(errno == ESTALE ? ErrorCode::file_changed : ErrorCode::io,
                fmt::format("the shard cannot be asked for its size any more: {}", std::strerror(errno)),
                {plan_.catalogue->shards[shard].path.string(), {}, {}}, changed_hint);
  }
  const FileIdentity now = identity_of(status);
  if (!is_unwritten(plan_.catalogue->identities[shard].file, now)) throw_changed(shard, now.bytes, "written to");
}

void ShardFiles::throw_changed(std::uint32_t shard, std::uint64_t bytes, const char* how) const {
  const Shard& about = plan_.catalogue->shards[shard];
  if (bytes != about.bytes) {
    throw Error(ErrorCode::file_changed,
                fmt::format("the shard has {} bytes now; it had {} when its header was read", bytes, about.bytes),
                {about.path.string(), std::min(bytes, about.bytes), {}}, changed_hint);
  }
  throw Error(ErrorCode::file_changed, fmt::format("the shard was {} after its header was read", how),
              {about.path.string(), {}, {}}, changed_hint);
}

void ShardFiles::tell_direct_refused(std::uint32_t shard, const std::string& reason) {
  if (told_direct_refused_) return;
  told_direct_refused_ = true;
  fallbacks_.push_back({"O_DIRECT", fmt::format("{}: {}; read through the page cache instead",
                                                plan_.catalogue->shards[shard].path.string(), reason)});
}

}  // namespace sluice
