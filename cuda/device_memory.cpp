#include "cuda/device_memory.hpp"

#include <fmt/format.h>

#include <string>

namespace sluice {

DeviceMemory::DeviceMemory(const Context& context, std::uint64_t bytes) : context_(context) {
  if (bytes == 0) return;
  const CurrentContext current(context);
  const std::string call = fmt::format("cuMemAlloc of {} bytes", bytes);  // first: what fails now has nothing to free
  context.check(context.driver().cuMemAlloc(&pointer_, bytes), call);
}

DeviceMemory::~DeviceMemory() {
  if (pointer_ != 0) with_context(context_, [this] { ignore(context_.driver().cuMemFree(pointer_)); });
}

PinnedMemory::PinnedMemory(const Context& context, std::size_t bytes) : context_(context) {
  const CurrentContext current(context);
  const std::string call = fmt::format("cuMemHostAlloc of {} bytes", bytes);
  context.check(context.driver().cuMemHostAlloc(&data_, bytes, 0), call);
}

PinnedMemory::~PinnedMemory() {
  with_context(context_, [this] { ignore(context_.driver().cuMemFreeHost(data_)); });
}

}  // namespace sluice
