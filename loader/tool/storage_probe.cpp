#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include "loader/base/limits.hpp"
#include "loader/base/memory.hpp"
#include "loader/base/regular_file.hpp"
#include "loader/read/page_cache.hpp"
#include "loader/tool/descriptor.hpp"
#include "loader/tool/probes.hpp"
#include "loader/tool/text.hpp"
#include "sluice/error.hpp"

namespace sluice::tool {

namespace {

using Status = Check::Status;

// Entries of a folder that are looked at to find a file to try things on.
constexpr int entries_max = 4096;

std::string message_of(int error) {
  return std::generic_category().message(error);
}

/// A regular file at or in `path`, a shard where there is one; empty where there is none.
std::filesystem::path sample_file(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::is_regular_file(path, error)) return path;
  std::filesystem::path sample;
  std::filesystem::directory_iterator entry(path, error);
  for (int seen = 0; !error && entry != std::filesystem::directory_iterator() && seen < entries_max; ++seen) {
    std::error_code ignored;
    if (entry->is_regular_file(ignored)) {
      if (entry->path().extension() == ".safetensors") return entry->path();
      if (sample.empty()) sample = entry->path();
    }
    entry.increment(error);
  }
  return sample;
}

/// Opens the sample; in a folder without any file, an unnamed one that vanishes when it is closed. Sets errno where
/// that fails.
Descriptor open_sample(const std::filesystem::path& path, const std::filesystem::path& sample, int flags) {
  if (!sample.empty()) {
    const OpenedFile file = open_regular_file(sample);
    const Descriptor plain(file.descriptor);
    if (plain.is_open()) return Descriptor(open_once_more(plain.get(), sample, flags));
    errno = file.error != 0 ? file.error : ENOENT;  // something else has come into its place
    return Descriptor(-1);
  }
  return Descriptor(open(path.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600));
}

struct Mount {
  std::string type;    // "ext4"
  std::string source;  // "/dev/vda"
};

/// By the mount's number, since file systems such as btrfs show other device numbers than their mounts do.
std::optional<Mount> mount_of(std::uint64_t mount_id) {
  // 36 35 98:0 /root /mount/point rw,noatime master:1 - ext4 /dev/sda1 rw
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::uint64_t id = 0;
    if (!(fields >> id) || id != mount_id) continue;
    for (std::string field; fields >> field;) {
      if (field != "-") continue;
      Mount mount;
      fields >> mount.type >> mount.source;
      return mount;
    }
  }
  return std::nullopt;
}

Check describe_file_system(const std::filesystem::path& path, const struct statx& about) {
  Check check{"file system", Status::info, ""};
  const std::optional<Mount> mount = (about.stx_mask & STATX_MNT_ID) != 0 ? mount_of(about.stx_mnt_id) : std::nullopt;
  struct statfs system = {};
  const bool has_system = statfs(path.c_str(), &system) == 0;
  if (mount) {
    check.finding = fmt::format("{} on {}", mount->type, mount->source);
  } else if (has_system) {
    check.finding = fmt::format("type {:#x}", static_cast<unsigned long>(system.f_type));
  }
  if (has_system) {
    check.finding += fmt::format(", {} free", decimal_size(static_cast<std::uint64_t>(system.f_bavail) *
                                                           static_cast<std::uint64_t>(system.f_bsize)));
  }
  if (mount && (mount->type == "tmpfs" || mount->type == "ramfs")) {
    check.advice = "what lies here is in memory already; there is no storage to measure";
  } else if (mount && (mount->type == "overlay" || mount->type.starts_with("fuse"))) {
    check.advice = "if loading is slow, mount the disk itself (a volume) instead of reading through this layer";
  }
  return check;
}

Check probe_direct(const std::filesystem::path& path, const std::filesystem::path& sample) {
  const Descriptor file = open_sample(path, sample, O_DIRECT);
  if (!file.is_open()) {
    const int error = errno;
    if (error != EINVAL && error != EOPNOTSUPP) {
      return {"O_DIRECT", Status::info, fmt::format("cannot be tried: {}", message_of(error)),
              "name a folder that holds a file to read, or that can be written"};
    }
    return {"O_DIRECT", Status::slow, "refused by this file system: reads go through the page cache",
            "keep models on a local ext4 or xfs"};
  }
  const Mapping target(limits::direct_alignment_bytes, "a probe");
  if (pread(file.get(), target.data(), target.size(), 0) < 0) {
    return {"O_DIRECT", Status::slow,
            fmt::format("opens, but a read of {} bytes is refused: {}", target.size(), message_of(errno)),
            "keep models on a file system with blocks of 4 KiB at most"};
  }
  struct statx about = {};
  std::string needs = "the file system does not say what alignment it needs";
  if (statx(file.get(), "", AT_EMPTY_PATH, STATX_DIOALIGN, &about) == 0 && (about.stx_mask & STATX_DIOALIGN) != 0) {
    needs = fmt::format("memory aligned to {}, offsets to {}", about.stx_dio_mem_align, about.stx_dio_offset_align);
    if (std::max(about.stx_dio_mem_align, about.stx_dio_offset_align) > limits::direct_alignment_bytes) {
      return {"O_DIRECT", Status::slow, fmt::format("needs {}: more than sluice keeps, so reads are buffered", needs),
              "keep models on a file system with blocks of 4 KiB at most"};
    }
  }
  return {"O_DIRECT", Status::ok, fmt::format("works; {}", needs)};
}

Check probe_page_cache(const std::filesystem::path& path, const std::filesystem::path& sample) {
  const Descriptor file = open_sample(path, sample, 0);
  if (!file.is_open()) {
    return {"page cache", Status::info, fmt::format("cannot be tried: {}", message_of(errno)),
            "name a folder that holds a file to read, or that can be written"};
  }
  PageCache cache;
  const bool answers = cache.cached_bytes(file.get(), 0, limits::direct_alignment_bytes).has_value();
  if (answers && cache.refusal().empty()) return {"page cache", Status::ok, "cachestat says what is cached"};
  if (answers) return {"page cache", Status::slow, "is asked in a slower way than by cachestat", cache.refusal()};
  return {"page cache", Status::slow, "cannot be asked about these files: all are read as if none were cached",
          cache.refusal()};
}

}  // namespace

std::string file_system_of(const std::filesystem::path& path) {
  struct statx about = {};
  if (statx(AT_FDCWD, path.c_str(), 0, STATX_MNT_ID, &about) != 0 || (about.stx_mask & STATX_MNT_ID) == 0) return {};
  const std::optional<Mount> mount = mount_of(about.stx_mnt_id);
  return mount ? mount->type : std::string();
}

std::vector<Check> probe_storage(const std::filesystem::path& path) {
  struct statx about = {};
  if (statx(AT_FDCWD, path.c_str(), 0, STATX_TYPE | STATX_MNT_ID, &about) != 0) {
    const int error = errno;
    throw Error(error == ENOENT || error == ENOTDIR ? ErrorCode::not_found : ErrorCode::io,
                fmt::format("it cannot be looked at: {}", message_of(error)), {path.string(), {}, {}},
                "name a file or folder on the file system that holds the models");
  }
  const std::filesystem::path sample = sample_file(path);
  return {describe_file_system(path, about), probe_direct(path, sample), probe_page_cache(path, sample)};
}

}  // namespace sluice::tool
