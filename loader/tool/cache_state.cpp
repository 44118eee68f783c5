#include "loader/tool/cache_state.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "loader/base/memory.hpp"
#include "loader/base/regular_file.hpp"
#include "loader/base/thread.hpp"
#include "loader/tool/text.hpp"
#include "sluice/error.hpp"

namespace sluice::tool {

namespace {

constexpr int cold_tries = 10;
constexpr int warm_tries = 3;
constexpr std::chrono::milliseconds pause_between_tries{100};
// What a kernel keeps back of a file for a moment: pages on a list of some processor's own. Above this it is no rest.
constexpr std::uint64_t accepted_share = 100;
constexpr std::uint64_t warm_piece_bytes = 4ull << 20;
// Of other people's files the kernel is asked by a sample of each range as long as this.
constexpr std::uint64_t look_bytes = 64ull << 20;

/// A file system whose files are in memory and nowhere else: there is nothing to drop them to.
bool is_memory(int descriptor) {
  struct statfs system = {};
  if (fstatfs(descriptor, &system) != 0) return false;
  return system.f_type == TMPFS_MAGIC || system.f_type == RAMFS_MAGIC;
}

/// Reads a range to have it cached. The end of the file, or an error, ends it: whether all is cached is asked later.
void read_through(int descriptor, std::uint64_t begin, std::uint64_t end) noexcept {
  std::array<std::byte, 64 * 1024> piece;
  while (begin < end) {
    const std::size_t want = std::min<std::uint64_t>(piece.size(), end - begin);
    const ssize_t got = pread(descriptor, piece.data(), want, static_cast<off_t>(begin));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    begin += static_cast<std::uint64_t>(got);
  }
}

}  // namespace

Descriptor open_shard(const std::filesystem::path& path) {
  const OpenedFile opened = open_regular_file(path);
  if (opened.descriptor >= 0) return Descriptor(opened.descriptor);
  const int error = opened.error != 0 ? opened.error : ENOENT;
  throw Error(ErrorCode::io, fmt::format("the shard cannot be opened: {}", std::generic_category().message(error)),
              {path.string(), {}, {}}, "let nothing replace the checkpoint while it is measured");
}

CacheState::CacheState(std::vector<CachedFile> files, unsigned threads, Interruption check)
    : files_(std::move(files)), threads_(threads), check_(std::move(check)) {
  for (const CachedFile& file : files_) {
    bytes_ += file.bytes;
    read_bytes_ += file.read_bytes;
  }
}

std::optional<std::uint64_t> CacheState::cached_bytes_of(int descriptor, std::uint64_t bytes) {
  std::uint64_t cached = 0;
  for (std::uint64_t begin = 0; begin < bytes; begin += look_bytes) {
    const auto part = page_cache_.cached_bytes(descriptor, begin, std::min(look_bytes, bytes - begin));
    if (!part) return std::nullopt;
    cached += *part;
  }
  return cached;
}

CacheState::Seen CacheState::look() {
  Seen seen;
  for (const CachedFile& file : files_) {
    if (file.bytes == 0) continue;
    const Descriptor opened = open_shard(file.path);
    const std::optional<std::uint64_t> all = cached_bytes_of(opened.get(), file.bytes);
    const bool whole = file.read_bytes == file.bytes;
    const std::optional<std::uint64_t> wanted = whole || !all ? all : cached_bytes_of(opened.get(), file.read_bytes);
    if (!all || !wanted) {
      seen.refusal = fmt::format("the kernel does not say what is cached of {}{}{}", file.path.string(),
                                 page_cache_.refusal().empty() ? "" : ": ", page_cache_.refusal());
      return seen;
    }
    seen.cached_bytes += *all;
    seen.warm_bytes += *wanted;
  }
  return seen;
}

std::uint64_t CacheState::cached_bytes() {
  return look().cached_bytes;
}

CacheState::Outcome CacheState::make_cold() {
  Outcome outcome;
  for (int attempt = 0; attempt < cold_tries; ++attempt) {
    if (attempt > 0) std::this_thread::sleep_for(pause_between_tries);
    for (const CachedFile& file : files_) {
      check_();
      const Descriptor opened = open_shard(file.path);
      if (is_memory(opened.get())) {
        return {file.bytes, "its file system keeps files in memory: there is no storage to start from"};
      }
      fsync(opened.get());  // what is dirty cannot be dropped; a file system that refuses it has nothing to write
      posix_fadvise(opened.get(), 0, 0, POSIX_FADV_DONTNEED);
    }
    const Seen seen = look();
    if (!seen.refusal.empty()) return {seen.cached_bytes, seen.refusal};
    outcome.cached_bytes = seen.cached_bytes;
    if (seen.cached_bytes == 0) return outcome;
  }
  if (outcome.cached_bytes * accepted_share >= bytes_) {
    outcome.refusal = fmt::format("{} of {} stay in the page cache: another process reads or maps them",
                                  decimal_size(outcome.cached_bytes), decimal_size(bytes_));
  }
  return outcome;
}

CacheState::Outcome CacheState::make_warm(std::uint64_t beside) {
  if (const std::uint64_t room = available_memory_bytes(); read_bytes_ + beside > room) {
    return {0, fmt::format("{} of it and {} for the load do not fit into the {} of memory that can be had",
                           binary_size(read_bytes_), binary_size(beside), binary_size(room))};
  }
  Seen seen = look();
  for (int attempt = 0; attempt < warm_tries && seen.refusal.empty() && seen.warm_bytes < read_bytes_; ++attempt) {
    for (const CachedFile& file : files_) {
      const Descriptor opened = open_shard(file.path);
      const std::size_t pieces = (file.read_bytes + warm_piece_bytes - 1) / warm_piece_bytes;
      std::size_t next = 0;
      while (next < pieces) {
        check_();
        // As many pieces at a time as are read within a moment, so that a check follows soon.
        const std::size_t count = std::min<std::size_t>(pieces - next, std::size_t{16} * threads_);
        share_out(threads_, count, [&](std::size_t part) {
          const std::uint64_t begin = (next + part) * warm_piece_bytes;
          read_through(opened.get(), begin, std::min(begin + warm_piece_bytes, file.read_bytes));
        });
        next += count;
      }
    }
    seen = look();
  }
  if (!seen.refusal.empty()) return {seen.cached_bytes, seen.refusal};
  if (seen.warm_bytes >= read_bytes_) return {seen.cached_bytes, ""};
  return {seen.cached_bytes, fmt::format("only {} of {} stay in the page cache once they have been read",
                                         decimal_size(seen.warm_bytes), decimal_size(read_bytes_))};
}

}  // namespace sluice::tool
