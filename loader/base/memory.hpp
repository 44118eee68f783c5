// Memory: the host's anonymous memory: mapped in huge pages where there are any, counted before it is taken.
// All functions may be called from any thread.
#pragma once

#include <cstddef>
#include <cstdint>

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

  /// Asks for pages on one NUMA node, as long as that has any free. Before memory is touched; -1: wherever the thread
  /// runs that touches it. A hint.
  void prefer_node(int node) noexcept;

 private:
  std::byte* data_ = nullptr;
  std::uint64_t bytes_ = 0;
};

/// Bytes that the process could still take: MemAvailable, or what its control groups leave where that is less.
std::uint64_t available_memory_bytes() noexcept;

/// The most memory that was resident in the process at a time (VmHWM), in bytes; 0 where the system does not say.
std::uint64_t peak_resident_bytes() noexcept;

}  // namespace sluice
