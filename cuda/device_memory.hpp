// DeviceMemory: one allocation on a GPU. PinnedMemory: one on the host, for copies from a GPU.
// Threads: any; nothing may be in flight when it is destroyed.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/context.hpp"

namespace sluice {

class DeviceMemory {
 public:
  /// At least `bytes`; none for 0. Throws Error{out_of_memory, device_unavailable}.
  DeviceMemory(const Context& context, std::uint64_t bytes);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  cu::DevicePointer pointer() const noexcept { return pointer_; }  // 0 for no bytes

 private:
  const Context& context_;
  cu::DevicePointer pointer_ = 0;
};

class PinnedMemory {
 public:
  /// Throws Error{out_of_memory, device_unavailable}.
  PinnedMemory(const Context& context, std::size_t bytes);
  ~PinnedMemory();
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;

  void* data() const noexcept { return data_; }

 private:
  const Context& context_;
  void* data_ = nullptr;
};

}  // namespace sluice
