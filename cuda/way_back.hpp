// WayBack: copies memory of one GPU to host memory. A copy straight to a caller's memory, which is not pinned, would
// take the driver's own buffers, and wait for the default stream. Threads: any; one copy at a time.
#pragma once

#include <cstdint>
#include <memory>

#include "cuda/device_memory.hpp"
#include "loader/base/mutex.hpp"

namespace sluice {

class WayBack {
 public:
  /// Takes memory only when something is copied. The context outlives it.
  explicit WayBack(const Context& context) : context_(context) {}

  /// Blocks. Throws as Context::check().
  void copy(const void* from, void* target, std::uint64_t bytes);

 private:
  struct Buffer {
    explicit Buffer(const Context& context);
    PinnedMemory memory;
    Stream stream;
  };

  const Context& context_;
  Mutex mutex_;
  std::unique_ptr<const Buffer> buffer_ SLUICE_GUARDED_BY(mutex_);
};

}  // namespace sluice
