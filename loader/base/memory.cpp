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

/// What one control group leaves: its limit less what it uses, page cache that can be dropped not counted as used.
std::uint64_t left_in_group(const std::string& folder, const char* limit_file, const char* usage_file,
                            const char* cache_key) {
  const auto limit = number_in(folder + limit_file, "");
  const auto usage = number_in(folder + usage_file, "");
  if (!limit || !usage) return unlimited;
  const std::uint64_t cache = number_in(folder + "/memory.stat", cache_key).value_or(0);
  const std::uint64_t used = *usage - std::min(*usage, cache);
  return *limit - std::min(*limit, used);
}

/// The least that any control group above this process leaves, by /proc/self/cgroup.
std::uint64_t left_in_groups() {
  std::uint64_t left = unlimited;
  std::ifstream groups("/proc/self/cgroup");
  std::string line;
  while (std::getline(groups, line)) {
    const bool v2 = line.starts_with("0::");
    const std::size_t v1 = line.find(":memory:");
    if (!v2 && v1 == std::string::npos) continue;
    std::string folder = v2 ? line.substr(3) : line.substr(v1 + std::strlen(":memory:"));
    // Inside a container the path may be that of the host; its own group is then mounted at the root.
    for (;;) {
      if (folder == "/") folder.clear();
      left = std::min(
          left, v2 ? left_in_group("/sys/fs/cgroup" + folder, "/memory.max", "/memory.current", "inactive_file ")
                   : left_in_group("/sys/fs/cgroup/memory" + folder, "/memory.limit_in_bytes", "/memory.usage_in_bytes",
                                   "total_inactive_file "));
      if (folder.empty()) break;
      folder.resize(folder.rfind('/') == std::string::npos ? 0 : folder.rfind('/'));
    }
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
  // Before Linux 5.14: write what is there already, once a page. Storage or a neighbour's delivery may be writing to
  // the same huge page, so that only a write that cannot come between theirs will do.
  for (std::uint64_t at = first; at < last; at += 4096) {
    const std::atomic_ref<std::byte> byte(data_[at]);
    std::byte present = byte.load(std::memory_order_relaxed);
    byte.compare_exchange_strong(present, present, std::memory_order_relaxed);
  }
}

void Mapping::prefer_node(int node) noexcept {
  constexpr int bits = 8 * sizeof(unsigned long);
  std::array<unsigned long, 16> nodes{};
  if (node < 0 || node >= bits * static_cast<int>(nodes.size())) return;
  nodes[static_cast<std::size_t>(node / bits)] = 1ul << (node % bits);
  // The kernel looks at one bit less than it is told of (get_nodes() in its mm/mempolicy.c).
  syscall(SYS_mbind, data_, bytes_, MPOL_PREFERRED, nodes.data(), bits * nodes.size() + 1, 0);
}

std::uint64_t available_memory_bytes() noexcept {
  try {
    return std::min(number_in("/proc/meminfo", "MemAvailable:").value_or(unlimited), left_in_groups());
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
