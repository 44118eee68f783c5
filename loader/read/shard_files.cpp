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

// Small shards are read faster than a slow file system opens them one by one.
constexpr std::size_t opened_ahead = 8;

constexpr const char* changed_hint = "open the checkpoint again once nothing writes to it any more";

bool lacks_descriptors(int error) {
  return error == EMFILE || error == ENFILE;
}

template <typename Action>
std::exception_ptr error_of(Action action) noexcept {
  try {
    action();
  } catch (...) {
    return std::current_exception();
  }
  return nullptr;
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

ShardFiles::ShardFiles(const PlanData& plan, Reader& reader, IoMode io, std::vector<Fallback>& fallbacks,
                       FileAsker& asker)
    : plan_(plan),
      reader_(reader),
      io_(io),
      open_most_(shards_open_most()),
      fallbacks_(fallbacks),
      files_(plan.catalogue->shards.size()),
      ranks_(files_.size()),
      asker_(asker),
      tasks_(asker.workers()) {
  for (const Extent& extent : plan.extents) {
    if (files_[extent.shard].extents_left++ > 0) continue;
    ranks_[extent.shard] = static_cast<std::uint32_t>(order_.size());
    order_.push_back(extent.shard);
  }
  const std::size_t most = std::min(open_most_, files_.size());
  open_.reserve(most);
  const MutexLock lock(mutex_);
  opened_.reserve(most);
}

ShardFiles::~ShardFiles() {
  tasks_.wait();
  while (!open_.empty()) close(open_.back());
  const MutexLock lock(mutex_);
  for (const Opened& opened : opened_) close_descriptors(opened.file.descriptor, opened.direct_descriptor);
}

ShardFiles::File* ShardFiles::open(std::uint32_t shard) {
  File& file = files_[shard];
  take_check();
  const int lacking = take_opened(shard);
  if (file.descriptor < 0 && !file.is_opening && make_room(shard, lacking)) begin_to_open(shard);
  if (lacking == 0) open_ahead_of(shard);
  return file.descriptor >= 0 ? &file : nullptr;
}

/// Whether there is room for one more, which was refused with `lacking` where that is not 0. If not, the wakeup is
/// notified when there may be, or an extent in flight is done.
bool ShardFiles::make_room(std::uint32_t shard, int lacking) {
  if (lacking == 0 && has_room()) return true;
  if (closing_ > 0 || close_an_idle_one()) return false;
  const bool is_alone = lacking != 0 && open_.empty() && opening_count_ == 0;
  // What another one had may have come back only since then.
  if (is_alone && std::exchange(lacked_alone_, true)) throw_refused(shard, {-1, lacking, {}});
  return is_alone;
}

/// So that the next ones are there when their turn comes, as far as there is room, and a thread left for other
/// questions.
void ShardFiles::open_ahead_of(std::uint32_t shard) {
  const std::size_t end = std::min<std::size_t>(order_.size(), ranks_[shard] + opened_ahead + 1);
  next_ahead_ = std::max<std::size_t>(next_ahead_, ranks_[shard] + 1);
  for (; next_ahead_ < end && has_room() && opening_count_ + 1 < FileAsker::threads; ++next_ahead_) {
    const std::uint32_t next = order_[next_ahead_];
    const File& file = files_[next];
    if (file.descriptor < 0 && !file.is_opening && file.extents_left > 0) begin_to_open(next);
  }
}

void ShardFiles::begin_to_open(std::uint32_t shard) {
  const bool direct = io_ != IoMode::buffered && !files_[shard].refused_direct && offers_alignment(shard);
  tasks_.run([this, shard, direct] {
    Opened opened = try_to_open(shard, direct);
    {
      const MutexLock lock(mutex_);
      opened_.push_back(std::move(opened));  // there is room
    }
    asker_.wakeup().notify();
  });
  files_[shard].is_opening = true;
  ++opening_count_;
}

/// On a thread of the asker's.
ShardFiles::Opened ShardFiles::try_to_open(std::uint32_t shard, bool direct) const noexcept {
  asker_.before_question();
  const std::filesystem::path& path = plan_.catalogue->shards[shard].path;
  Opened opened;
  opened.shard = shard;
  opened.file = open_regular_file(path);
  if (opened.file.descriptor < 0) return opened;
  opened.error = error_of([&] { check_opened(shard, opened.file.descriptor, opened.file.status); });
  if (opened.error != nullptr) {
    ::close(std::exchange(opened.file.descriptor, -1));
  } else if (direct) {
    opened.direct_descriptor = open_once_more(opened.file.descriptor, path, O_DIRECT);
    if (opened.direct_descriptor < 0) opened.direct_error = errno;
  }
  return opened;
}

/// Those that have been opened, or refused. What refuses `wanted` is thrown; what refuses another one is met when that
/// is wanted. Returns the errno where `wanted` lacks descriptors, else 0.
int ShardFiles::take_opened(std::uint32_t wanted) {
  while (opening_count_ > 0) {
    Opened opened;
    {
      const MutexLock lock(mutex_);
      if (opened_.empty()) return 0;
      opened = std::move(opened_.back());
      opened_.pop_back();
    }
    --opening_count_;
    files_[opened.shard].is_opening = false;
    if (opened.file.descriptor >= 0) {
      add(opened);
    } else if (opened.shard == wanted) {
      if (opened.error != nullptr) std::rethrow_exception(std::move(opened.error));
      if (!lacks_descriptors(opened.file.error)) throw_refused(wanted, opened.file);
      return opened.file.error;
    }
  }
  return 0;
}

void ShardFiles::add(const Opened& opened) {
  const std::uint32_t shard = opened.shard;
  File& file = files_[shard];
  file.descriptor = opened.file.descriptor;
  file.direct_descriptor = opened.direct_descriptor;
  open_.push_back(shard);  // there is room
  lacked_alone_ = false;
  try {
    file.buffered = reader_.add_file(file.descriptor);
    if (file.direct_descriptor >= 0) {
      file.direct = reader_.add_file(file.direct_descriptor);
      file.takes_direct = true;
    } else if (opened.direct_error != 0) {
      // A process without descriptors reads this one shard buffered; that is no property of the file system.
      tell_direct_refused(shard, fmt::format("open: {}", std::strerror(opened.direct_error)));
    } else if (io_ != IoMode::buffered && !offers_alignment(shard)) {
      const Shard& about = plan_.catalogue->shards[shard];
      tell_direct_refused(shard, fmt::format("its file system asks for an alignment of {} bytes, {} are offered",
                                             std::max(about.direct_offset_alignment, about.direct_memory_alignment),
                                             limits::direct_alignment_bytes));
    }
  } catch (...) {
    close(shard);
    throw;
  }
}

bool ShardFiles::offers_alignment(std::uint32_t shard) const noexcept {
  const Shard& about = plan_.catalogue->shards[shard];
  return about.direct_offset_alignment <= limits::direct_alignment_bytes &&
         about.direct_memory_alignment <= limits::direct_alignment_bytes;
}

void ShardFiles::hold(std::uint32_t shard) noexcept {
  assert(files_[shard].descriptor >= 0);
  ++files_[shard].in_flight;
}

void ShardFiles::release(std::uint32_t shard) noexcept {
  assert(files_[shard].in_flight > 0);
  --files_[shard].in_flight;
}

void ShardFiles::done_with_extent(std::uint32_t shard) noexcept {
  release(shard);
  File& file = files_[shard];
  --file.extents_left;
  file.last_done = ++done_;
}

std::uint64_t ShardFiles::reads_checked() {
  take_check();
  return checked_;
}

/// Of all shards of which something was read since the last one. Where it throws, the load fails.
bool ShardFiles::begin_check() {
  if (checking_ != 0 || checked_ == done_) return false;
  const auto is_asked = [&](std::uint32_t shard) { return files_[shard].last_done > checked_; };
  checking_ = done_;
  {
    const MutexLock lock(mutex_);
    checks_left_ = static_cast<std::size_t>(std::ranges::count_if(open_, is_asked));
  }
  for (const std::uint32_t shard : open_) {
    if (!is_asked(shard)) continue;
    tasks_.run([this, shard, descriptor = files_[shard].descriptor] {
      std::exception_ptr error = error_of([&] { check_unwritten(shard, descriptor); });
      {
        const MutexLock lock(mutex_);
        if (check_error_ == nullptr) check_error_ = std::move(error);
        if (--checks_left_ > 0) return;
      }
      asker_.wakeup().notify();
    });
  }
  return true;
}

/// If it has ended.
void ShardFiles::take_check() {
  if (checking_ == 0) return;
  {
    const MutexLock lock(mutex_);
    if (checks_left_ > 0) return;
    if (check_error_ != nullptr) std::rethrow_exception(check_error_);
  }
  checked_ = std::exchange(checking_, 0);
  for (std::size_t i = open_.size(); i-- > 0;) {
    if (files_[open_[i]].extents_left == 0 && is_idle(open_[i])) close(open_[i]);
  }
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

bool ShardFiles::is_idle(std::uint32_t shard) const noexcept {
  return files_[shard].in_flight == 0 && files_[shard].last_done <= checked_;
}

/// False: there is none. Where a check is all that they lack, it is under way.
bool ShardFiles::close_an_idle_one() {
  const auto found = std::ranges::find_if(open_, [&](std::uint32_t shard) { return is_idle(shard); });
  if (found == open_.end()) {
    begin_check();
    return false;
  }
  close(*found);
  return true;
}

void ShardFiles::close(std::uint32_t shard) noexcept {
  File& file = files_[shard];
  file.takes_direct = false;
  if (file.direct != File::unknown) reader_.remove_file(std::exchange(file.direct, File::unknown));
  if (file.buffered != File::unknown) reader_.remove_file(std::exchange(file.buffered, File::unknown));
  close_descriptors(std::exchange(file.descriptor, -1), std::exchange(file.direct_descriptor, -1));
  std::erase(open_, shard);
}

void ShardFiles::close_descriptors(int descriptor, int direct_descriptor) noexcept {
  const auto close_and_tell = [this, descriptor, direct_descriptor]() noexcept {
    if (direct_descriptor >= 0) ::close(direct_descriptor);
    if (descriptor >= 0) ::close(descriptor);
    --closing_;
    asker_.wakeup().notify();
  };
  ++closing_;
  try {
    tasks_.run(close_and_tell);
  } catch (const std::exception&) {
    close_and_tell();  // there is no memory to have it done
  }
}

void ShardFiles::check_opened(std::uint32_t shard, int descriptor, const struct stat& status) const {
  const ShardIdentity& validated = plan_.catalogue->identities[shard];
  const FileIdentity now = identity_of(status);
  switch (is_same_file(validated.file, now)) {
    case SameFile::yes:
      return;
    case SameFile::perhaps:
      if (read_header_digest(descriptor, plan_.catalogue->shards[shard]) == validated.header_digest) return;
      [[fallthrough]];
    case SameFile::no:
      throw_changed(shard, now.bytes, "replaced or written to");
  }
}

void ShardFiles::check_unwritten(std::uint32_t shard, int descriptor) const {
  asker_.before_question();
  struct stat status {};
  if (fstat(descriptor, &status) != 0) {
    throw Error(errno == ESTALE ? ErrorCode::file_changed : ErrorCode::io,
                fmt::format("the shard cannot be asked for its size any more: {}", std::strerror(errno)),
                {plan_.catalogue->shards[shard].path.string(), {}, {}}, changed_hint);
  }
  const FileIdentity now = identity_of(status);
  if (!is_unwritten(plan_.catalogue->identities[shard].file, now)) throw_changed(shard, now.bytes, "written to");
}

void ShardFiles::throw_refused(std::uint32_t shard, const OpenedFile& file) const {
  const std::filesystem::path& path = plan_.catalogue->shards[shard].path;
  if (file.error == ENOENT) {
    throw Error(ErrorCode::not_found, "the shard was removed after its header was read", {path.string(), {}, {}},
                changed_hint);
  }
  if (file.error != 0) throw refusal_to_open(path, "shard", file.error);
  throw_changed(shard, plan_.catalogue->shards[shard].bytes, "replaced");
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
