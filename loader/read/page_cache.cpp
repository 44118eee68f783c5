#include "loader/read/page_cache.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <string>
#include <vector>

namespace sluice {
namespace {

// include/uapi/linux/mman.h, Linux 6.5; newer than Debian 12's headers.
constexpr long cachestat_number = 451;
struct CachestatRange {
  std::uint64_t offset;
  std::uint64_t length;
};
struct Cachestat {
  std::uint64_t cached;
  std::uint64_t dirty;
  std::uint64_t writeback;
  std::uint64_t evicted;
  std::uint64_t recently_evicted;
};

// Bytes of an extent that are tried: enough to tell three quarters from less, some microseconds in all.
constexpr std::uint64_t sample_bytes_max = 8;

bool allowed_on_own_file() {
  const int own = memfd_create("sluice-cachestat", MFD_CLOEXEC);
  if (own < 0) return true;
  CachestatRange range{0, 0};
  Cachestat stat{};
  const bool allowed = syscall(cachestat_number, own, &range, &stat, 0) == 0 || errno != EPERM;
  close(own);
  return allowed;
}

/// Whether mincore tells the truth: of files that are neither ours nor ours to write, it says that all is cached.
bool is_ours(int descriptor) {
  struct stat about {};
  if (fstat(descriptor, &about) == 0 && about.st_uid == geteuid()) return true;
  return faccessat(AT_FDCWD, ("/proc/self/fd/" + std::to_string(descriptor)).c_str(), W_OK, AT_EACCESS) == 0;
}

/// What this thread has had read from block devices so far.
long blocks_read() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_inblock;
}

/// Reads one byte unless that would have to wait for storage. Nothing where this cannot be known; errno says why.
std::optional<bool> is_cached(int descriptor, std::uint64_t offset) {
  char byte = 0;
  const iovec target{&byte, 1};
  const long blocks_before = blocks_read();
  const ssize_t got = preadv2(descriptor, &target, 1, static_cast<off_t>(offset), RWF_NOWAIT);
  // What is missing is fetched though nobody waits for it. Fast storage may have brought it before the kernel looks.
  if (got == 1) return blocks_read() == blocks_before;
  if (got < 0 && errno == EAGAIN) return false;
  if (got == 0) errno = ENODATA;  // behind the end
  return std::nullopt;
}

std::uint64_t page_bytes() {
  return static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

std::optional<std::uint64_t> PageCache::cached_bytes(int descriptor, std::uint64_t offset,
                                                     std::uint64_t bytes) noexcept {
  try {
    if (knows_cachestat_) return by_cachestat(descriptor, offset, bytes);
    return by_mincore(descriptor, offset, bytes);
  } catch (...) {
    return std::nullopt;
  }
}

std::optional<std::uint64_t> PageCache::by_cachestat(int descriptor, std::uint64_t offset, std::uint64_t bytes) {
  CachestatRange range{offset, bytes};
  Cachestat stat{};
  if (syscall(cachestat_number, descriptor, &range, &stat, 0) == 0) {
    if (stat.cached == 0 && lies_over_another(descriptor)) return by_mincore(descriptor, offset, bytes);
    return std::min(stat.cached * page_bytes(), bytes);
  }
  const int error = errno;
  if (error != EPERM && error != ENOSYS) return std::nullopt;  // this file has no page cache, or is no file
  // EPERM is about a file that is not ours to write; but a seccomp filter may answer it too.
  if (error == EPERM && !allowed_on_own_file_) allowed_on_own_file_ = allowed_on_own_file();
  if (error == EPERM && *allowed_on_own_file_) return by_sample(descriptor, offset, bytes);
  knows_cachestat_ = false;
  refusal_ = fmt::format("{}: Linux before 6.5, or a seccomp filter that does not know it; mincore is used instead",
                         std::strerror(error));
  return by_mincore(descriptor, offset, bytes);
}

std::optional<std::uint64_t> PageCache::by_mincore(int descriptor, std::uint64_t offset, std::uint64_t bytes) {
  if (!is_ours(descriptor)) return by_sample(descriptor, offset, bytes);
  const std::uint64_t page = page_bytes();
  const std::uint64_t first = offset / page * page;
  const std::uint64_t length = offset + bytes - first;
  // Mapped only to be asked about: no byte of it is ever touched, so a file that shrinks cannot raise SIGBUS.
  void* const map = mmap(nullptr, length, PROT_READ, MAP_SHARED, descriptor, static_cast<off_t>(first));
  if (map == MAP_FAILED) return std::nullopt;
  std::vector<unsigned char> pages;
  int refused = -1;
  try {
    pages.resize((length + page - 1) / page);
    refused = mincore(map, length, pages.data());
  } catch (const std::bad_alloc&) {
  }
  munmap(map, length);
  if (refused != 0) return std::nullopt;
  const auto cached = static_cast<std::uint64_t>(
      std::count_if(pages.begin(), pages.end(), [](unsigned char state) { return (state & 1) != 0; }));
  return std::min(cached * page, bytes);
}

std::optional<std::uint64_t> PageCache::by_sample(int descriptor, std::uint64_t offset, std::uint64_t bytes) {
  if (!random_) random_.emplace(std::random_device()());
  const std::uint64_t parts = std::min(sample_bytes_max, std::max<std::uint64_t>(bytes / page_bytes(), 1));
  const std::uint64_t part_bytes = bytes / parts;
  const auto below = [this](std::uint64_t end) {
    return std::uniform_int_distribution<std::uint64_t>(0, end - 1)(*random_);
  };
  // A byte of each part, until the first that is not there: for that the kernel fetches a page, though nobody waits.
  // For the same reason places differ from time to time: no page that was fetched so is to stand for others the next
  // time.
  const std::uint64_t begin = below(parts);
  std::uint64_t hits = 0;
  std::optional<bool> cached = true;
  while (hits < parts && cached == true) {
    cached = is_cached(descriptor, offset + (begin + hits) % parts * part_bytes + below(part_bytes));
    if (cached == true) ++hits;
  }
  const std::string refused = cached ? "" : std::strerror(errno);
  if (!told_of_sample_) {
    told_of_sample_ = true;
    refusal_ += fmt::format("{}of a file that is neither this user's nor writable the kernel does not tell; {}",
                            refusal_.empty() ? "" : "; ",
                            cached ? "reads that do not wait take a sample instead"
                                   : fmt::format("it is read as if nothing were cached (RWF_NOWAIT: {})", refused));
  }
  if (!cached) return std::nullopt;
  return hits == parts ? bytes : hits * part_bytes;
}

bool PageCache::lies_over_another(int descriptor) {
  struct stat about {};
  if (fstat(descriptor, &about) != 0) return false;
  // Asked once per file system: on some networks the answer comes from a server.
  const auto [known, is_new] = lies_over_another_.try_emplace(about.st_dev, false);
  if (is_new) {
    struct statfs system {};
    known->second = fstatfs(descriptor, &system) == 0 && system.f_type == OVERLAYFS_SUPER_MAGIC;
  }
  return known->second;
}

}  // namespace sluice
