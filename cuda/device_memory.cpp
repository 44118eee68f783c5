#include "cuda/device_memory.hpp"

#include <fmt/format.h>

namespace sluice {

DeviceMemory::DeviceMemory(const Context& context, std::uint64_t bytes) : context_(context) {
  if (bytes == 0) return;
  const CurrentContext current(context);
  context.check(context.driver().cuMemAlloc(&pointer_, bytes), fmt::format("cuMemAlloc of {} bytes", bytes));
}

DeviceMemory::~DeviceMemory() {
  if (pointer_ != 0) with_context(context_, [this] { ignore(context_.driver().cuMemFree(pointer_)); });
}

PinnedMemory::PinnedMemory(const Context& context, std::size_t bytes) : context_(context) {
  const CurrentContext current(context);
  context.check(context.driver().cuMemHostAlloc(&data_, bytes, 0), fmt::format("cuMemHostAlloc of {} bytes", bytes));
}

PinnedMemory::~PinnedMemory() {
  with_context(context_, [this] { ignore(context_.driver().cuMemFreeHost(data_)); });
}

}  // namespace sluice
