#include "cuda/way_back.hpp"

#include <algorithm>
#include <cstring>

namespace sluice {
namespace {

constexpr std::uint64_t way_back_bytes = 1 << 20;

}  // namespace

WayBack::Buffer::Buffer(const Context& context) : memory(context, way_back_bytes), stream(context) {}

void WayBack::copy(const void* from, void* target, std::uint64_t bytes) {
  const CurrentContext current(context_);
  const MutexLock lock(mutex_);
  if (buffer_ == nullptr) buffer_ = std::make_unique<const Buffer>(context_);
  const auto source = reinterpret_cast<cu::DevicePointer>(from);
  for (std::uint64_t at = 0; at < bytes; at += way_back_bytes) {
    const std::uint64_t part = std::min(way_back_bytes, bytes - at);
    context_.check(
        context_.driver().cuMemcpyDtoHAsync(buffer_->memory.data(), source + at, part, buffer_->stream.handle()),
        "cuMemcpyDtoHAsync");
    buffer_->stream.synchronize();
    std::memcpy(static_cast<std::byte*>(target) + at, buffer_->memory.data(), part);
  }
}

}  // namespace sluice
