#include "loader/read/page_cache.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
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

bool allowed_on_own_file() {
  const int own = memfd_create("sluice-cachestat", MFD_CLOEXEC);
  if (own < 0) return true;
  CachestatRange range{0, 0};
  Cachestat stat{};
  const bool allowed = syscall(cachestat_number, own, &range, &stat, 0) == 0 || errno != EPERM;
  close(own);
  return allowed;
}

/// Whether its pages lie in the cache of another file, of which cachestat tells nothing.
bool lies_over_another(int descriptor) {
  struct statfs about {};
  return fstatfs(descriptor, &about) == 0 && about.f_type == OVERLAYFS_SUPER_MAGIC;
}

/// Of files that are neither ours nor ours to write, mincore says that all is cached.
bool is_ours(int descriptor) {
  struct stat about {};
  if (fstat(descriptor, &about) == 0 && about.st_uid == geteuid()) return true;
  return faccessat(AT_FDCWD, ("/proc/self/fd/" + std::to_string(descriptor)).c_str(), W_OK, AT_EACCESS) == 0;
}

std::optional<std::uint64_t> by_mincore(int descriptor, std::uint64_t offset, std::uint64_t bytes, std::uint64_t page) {
  if (!is_ours(descriptor)) return std::nullopt;
  const std::uint64_t first = offset / page * page;
  const std::uint64_t length = offset + bytes - first;
  // Mapped only to be asked about: no byte of it is ever touched, so a file that shrinks cannot raise SIGBUS.
  void* const map = mmap(nullptr, length, PROT_READ, MAP_SHARED, descriptor, static_cast<off_t>(first));
  if (map == MAP_FAILED) return std::nullopt;
  std::vector<unsigned char> pages((length + page - 1) / page);
  const int refused = mincore(map, length, pages.data());
  munmap(map, length);
  if (refused != 0) return std::nullopt;
  const auto cached = static_cast<std::uint64_t>(
      std::count_if(pages.begin(), pages.end(), [](unsigned char state) { return (state & 1) != 0; }));
  return std::min(cached * page, bytes);
}

}  // namespace

std::optional<std::uint64_t> PageCache::cached_bytes(int descriptor, std::uint64_t offset,
                                                     std::uint64_t bytes) noexcept {
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  try {
    if (refusal_.empty()) {
      CachestatRange range{offset, bytes};
      Cachestat stat{};
      if (syscall(cachestat_number, descriptor, &range, &stat, 0) == 0) {
        if (stat.cached == 0 && lies_over_another(descriptor)) return by_mincore(descriptor, offset, bytes, page);
        return std::min(stat.cached * page, bytes);
      }
      // EOPNOTSUPP is about the file system and EPERM about a file that is not ours to write; but a seccomp filter may
      // answer EPERM too.
      if (errno == EOPNOTSUPP || (errno == EPERM && allowed_on_own_file())) return std::nullopt;
      refusal_ = fmt::format("{}: Linux before 6.5, or a seccomp filter that does not know it; mincore is used instead",
                             std::strerror(errno));
    }
    return by_mincore(descriptor, offset, bytes, page);
  } catch (...) {
    return std::nullopt;
  }
}

}  // namespace sluice
