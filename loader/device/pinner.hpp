// Pinner: pins host memory, so that devices of a kind copy out of it by themselves and at their link's full rate.
// Threads: any, several at a time on different memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice {

class Pinner {
 public:
  virtual ~Pinner() = default;
  /// The NUMA node from which its device copies fastest; -1 where that is unknown or all are alike.
  virtual int numa_node() const noexcept = 0;
  /// Pins memory of the process's own for all devices of this kind; unpin() the same span before it is unmapped. One
  /// copy may not cross from one pinned span into another. Throws Error{out_of_memory, device_unavailable}.
  virtual void pin(std::span<std::byte> memory) = 0;
  virtual void unpin(std::span<std::byte> memory) noexcept = 0;
  /// Memory that is pinned from the start: for systems that refuse pin(). Aligned to pages. Throws as pin().
  virtual std::span<std::byte> allocate(std::uint64_t bytes) = 0;
  virtual void free(std::span<std::byte> memory) noexcept = 0;
};

}  // namespace sluice
