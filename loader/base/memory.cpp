#include "loader/base/memory.hpp"

#include <fmt/format.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "loader/base/alignment.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();

/// The number behind `key` in a file of "key value" or "key: value kB" lines; with an empty key, the file's first
/// number.
std::optional<std::uint64_t> number_in(const std::string& path, std::string_view key) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    if (!line.starts_with(key)) continue;
    const std::size_t at = line.find_first_of("0123456789", key.size());
    std::uint64_t value = 0;
    if (at == std::string::npos ||
        std::from_chars(line.data() + at, line.data() + line.size(), value).ec != std::errc()) {
      return std::nullopt;
    }
    return line.ends_with(" kB") ? value * 1024 : value;
  }
  return std::nullopt;
}

/// The numbers behind `keys` in a file of "key value" lines, added up.
std::uint64_t sum_in(const std::string& path, std::span<const std::string_view> keys) {
  std::uint64_t sum = 0;
  for (const std::string_view key : keys) sum += number_in(path, key).value_or(0);
  return sum;
}

/// Where a version of control groups says what a group may have and has.
struct GroupFiles {
  std::string_view mount;
  std::string_view limit;
  std::string_view usage;
  std::span<const std::string_view> droppable;
};

// What a group uses, but loses as soon as it asks for more, however lately it was used. The memory of tmpfs, which the
// key "file" counts too, is no part of it: it would have to be swapped out. Version 1 does not tell of slab.
constexpr std::array<std::string_view, 2> droppable_1 = {"total_inactive_file ", "total_active_file "};
constexpr std::array<std::string_view, 3> droppable_2 = {"inactive_file ", "active_file ", "slab_reclaimable "};

constexpr GroupFiles version_1 = {"/sys/fs/cgroup/memory", "/memory.limit_in_bytes", "/memory.usage_in_bytes",
                                  droppable_1};
constexpr GroupFiles version_2 = {"/sys/fs/cgroup", "/memory.max", "/memory.current", droppable_2};

/// What one control group leaves: its limit less what it uses, unless that can be dropped. All of that counts: the
/// kernel's MemAvailable leaves out up to half of it, for watermarks that a machine keeps and a group has not.
std::uint64_t left_in_group(const std::string& folder, const GroupFiles& files) {
  const auto limit = number_in(folder + std::string(files.limit), "");
  const auto usage = number_in(folder + std::string(files.usage), "");
  if (!limit || !usage) return unlimited;
  const std::uint64_t used = *usage - std::min(*usage, sum_in(folder + "/memory.stat", files.droppable));
  return *limit - std::min(*limit, used);
}

/// The least that a group at `path` or any above it leaves. Inside a container the path may be that of the host; the
/// container's own group is then mounted at the top.
std::uint64_t left_up_from(const std::string& mount, std::string path, const GroupFiles& files) {
  std::uint64_t left = unlimited;
  for (;;) {
    while (path.ends_with('/')) path.pop_back();
    left = std::min(left, left_in_group(mount + path, files));
    const std::size_t parent = path.rfind('/');
    if (parent == std::string::npos) return left;
    path.resize(parent);
  }
}

/// The least that any control group above this process leaves.
std::uint64_t left_in_groups(const std::string& root) {
  std::uint64_t left = unlimited;
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    // "0::/path" is of version 2, "4:cpu,memory:/path" of version 1.
    const std::size_t controllers = line.find(':');
    const std::size_t path = line.find(':', controllers == std::string::npos ? controllers : controllers + 1);
    if (path == std::string::npos) continue;
    const std::string named = ',' + line.substr(controllers + 1, path - controllers - 1) + ',';
    const bool is_version_1 = named.find(",memory,") != std::string::npos;
    if (!is_version_1 && !line.starts_with("0::")) continue;
    const GroupFiles& files = is_version_1 ? version_1 : version_2;
    left = std::min(left, left_up_from(root + std::string(files.mount), line.substr(path + 1), files));
  }
  return left;
}

}  // namespace

Mapping::Mapping(std::uint64_t bytes, const char* purpose) {
  if (bytes == 0) return;
  // mmap aligns to 4 KiB only: map what alignment may cost more, and give the ends back.
  const std::uint64_t size = align_up(bytes, 4096);
  void* raw = MAP_FAILED;
  errno = ENOMEM;  // the answer to sizes that would overflow, too
  if (bytes <= unlimited / 4) {
    raw = mmap(nullptr, size + huge_page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
               0);
  }
  if (raw == MAP_FAILED) {
    throw Error(ErrorCode::out_of_memory,
                fmt::format("{} bytes of host memory for {} were refused: {}", bytes, purpose, std::strerror(errno)),
                {}, "free memory, raise the limit of address space (ulimit -v), or load less at a time");
  }
  auto* const begin = static_cast<std::byte*>(raw);
  const auto address = reinterpret_cast<std::uintptr_t>(begin);
  const std::uint64_t lead = align_up(address, huge_page_bytes) - address;
  if (lead != 0) munmap(begin, lead);
  if (lead != huge_page_bytes) munmap(begin + lead + size, huge_page_bytes - lead);
  data_ = begin + lead;
  bytes_ = size;
  madvise(data_, bytes_, MADV_HUGEPAGE);  // refused where the kernel has none: then pages are small
}

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Mapping::~Mapping() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

void Mapping::populate(std::uint64_t offset, std::uint64_t bytes) noexcept {
  const std::uint64_t first = align_down(offset, huge_page_bytes);
  const std::uint64_t last = std::min(align_up(offset + bytes, huge_page_bytes), bytes_);
  if (first >= last) return;
  if (madvise(data_ + first, last - first, MADV_POPULATE_WRITE) == 0) return;
  // Before Linux 5.14: write to each page what is there already. Storage or a neighbour's delivery may be writing to
  // the same huge page; a compare-and-exchange never undoes what they write.
  for (std::uint64_t at = first; at < last; at += 4096) {
    const std::atomic_ref<std::byte> byte(data_[at]);
    std::byte present = byte.load(std::memory_order_relaxed);
    byte.compare_exchange_strong(present, present, std::memory_order_relaxed);
  }
}

void Mapping::let_go(std::uint64_t offset, std::uint64_t bytes) noexcept {
  if (offset < bytes_) madvise(data_ + offset, std::min(bytes, bytes_ - offset), MADV_DONTNEED);
}

void Mapping::prefer_node(int node) noexcept {
  constexpr int bits = 8 * sizeof(unsigned long);
  std::array<unsigned long, 16> nodes{};
  if (node < 0 || node >= bits * static_cast<int>(nodes.size())) return;
  nodes[static_cast<std::size_t>(node / bits)] = 1ul << (node % bits);
  // The kernel looks at one bit less than it is told of (get_nodes() in its mm/mempolicy.c).
  syscall(SYS_mbind, data_, bytes_, MPOL_PREFERRED, nodes.data(), bits * nodes.size() + 1, 0);
}

int Mapping::node_of_first_page() const noexcept {
  int node = -1;
  const long refused = syscall(SYS_get_mempolicy, &node, nullptr, 0, data_, MPOL_F_NODE | MPOL_F_ADDR);
  return refused == 0 ? node : -1;
}

void Mapping::keep_from_fork(bool keep) noexcept {
  if (data_ != nullptr) madvise(data_, bytes_, keep ? MADV_DONTFORK : MADV_DOFORK);
}

std::uint64_t available_memory_bytes(const std::string& root) noexcept {
  try {
    return std::min(number_in(root + "/proc/meminfo", "MemAvailable:").value_or(unlimited), left_in_groups(root));
  } catch (...) {
    return unlimited;
  }
}

std::uint64_t peak_resident_bytes() noexcept {
  try {
    return number_in("/proc/self/status", "VmHWM:").value_or(0);
  } catch (...) {
    return 0;
  }
}

}  // namespace sluice
