// Memory: anonymous memory of the host, in huge pages where there are any, and how much of it can be had.
// All functions may be called from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace sluice {

inline constexpr std::uint64_t huge_page_bytes = 2ull << 20;

/// A private anonymous mapping, aligned to 2 MiB and advised to use huge pages; not yet touched. Unmapped at the end.
class Mapping {
 public:
  Mapping() = default;
  /// `bytes` 0 maps nothing. Throws Error{out_of_memory}, saying what `purpose` it was for.
  Mapping(std::uint64_t bytes, const char* purpose);
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping();

  std::byte* data() const noexcept { return data_; }
  std::uint64_t size() const noexcept { return bytes_; }

  /// Touches the huge pages that [offset, offset + bytes) lies in, so that the kernel has nothing left to do when they
  /// are read into.
  void populate(std::uint64_t offset, std::uint64_t bytes) noexcept;

  /// Gives the memory of a range of whole huge pages back to the system; it reads as zeros then.
  void let_go(std::uint64_t offset, std::uint64_t bytes) noexcept;

  /// A hint: takes pages of that NUMA node while it has any free; -1: of the node where the thread runs that touches
  /// them. What has been touched stays where it is.
  void prefer_node(int node) noexcept;
  /// The NUMA node on which the first page lies; -1 where the system does not say. Touches it.
  int node_of_first_page() const noexcept;

  /// From now on, processes that fork() makes lack this memory (true) or have it (false). While storage writes to it
  /// past the page cache they must lack it: a fork shares pages until somebody writes to them, and before Linux 6.5
  /// what storage brings may then arrive in a page that is no longer ours. A child that touches memory which it lacks
  /// gets SIGSEGV.
  void keep_from_fork(bool keep) noexcept;

 private:
  std::byte* data_ = nullptr;
  std::uint64_t bytes_ = 0;
};

/// Bytes that the process could still take: MemAvailable, or what its control groups leave where that is less. What
/// groups hold in the page cache and the kernel's caches can be dropped, so it counts as free. `root` is where /proc
/// and /sys are found.
std::uint64_t available_memory_bytes(const std::string& root = "") noexcept;

/// The most memory that was resident in the process at a time (VmHWM), in bytes; 0 where the system does not say.
std::uint64_t peak_resident_bytes() noexcept;

}  // namespace sluice
