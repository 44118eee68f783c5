#include "cuda/cuda_arena.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "loader/base/alignment.hpp"

namespace sluice {
namespace {

constexpr std::uint64_t arena_alignment_bytes = 4096;
constexpr std::uint64_t driver_alignment_bytes = 256;  // of cuMemAlloc, by the CUDA C++ Programming Guide
constexpr std::uint64_t way_back_bytes = 1 << 20;

}  // namespace

CudaArena::CudaArena(std::shared_ptr<const Context> context, std::uint64_t bytes)
    : context_(std::move(context)),
      memory_(*context_, bytes == 0 ? 0 : bytes + arena_alignment_bytes - driver_alignment_bytes) {}

std::byte* CudaArena::data() const noexcept {
  return reinterpret_cast<std::byte*>(align_up(memory_.pointer(), arena_alignment_bytes));
}

CudaArena::WayBack::WayBack(const Context& context) : buffer(context, way_back_bytes), stream(context) {}

void CudaArena::read_back(std::uint64_t offset, void* target, std::uint64_t bytes) const {
  const CurrentContext current(*context_);
  const MutexLock lock(mutex_);
  if (way_back_ == nullptr) way_back_ = std::make_unique<const WayBack>(*context_);
  const auto source = reinterpret_cast<cu::DevicePointer>(data()) + offset;
  for (std::uint64_t at = 0; at < bytes; at += way_back_bytes) {
    const std::uint64_t part = std::min(way_back_bytes, bytes - at);
    context_->check(
        context_->driver().cuMemcpyDtoHAsync(way_back_->buffer.data(), source + at, part, way_back_->stream.handle()),
        "cuMemcpyDtoHAsync");
    way_back_->stream.synchronize();
    std::memcpy(static_cast<std::byte*>(target) + at, way_back_->buffer.data(), part);
  }
}

}  // namespace sluice
