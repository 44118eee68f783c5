#include "cuda/reserved_arena.hpp"

#include <fmt/format.h>

#include <utility>

#include "loader/base/limits.hpp"

namespace sluice {
namespace {

MappedMemorySupport support_of(const Context& context) {
  const CurrentContext current(context);
  MappedMemorySupport support = find_mapped_memory_support(context.driver(), context.device(), context.ordinal());
  if (support.refusal.empty() && limits::piece_bytes_unit % support.granularity != 0) {
    support.refusal = fmt::format("the driver maps memory in units of {} bytes", support.granularity);
  }
  if (support.refusal.empty()) return support;
  throw Error(ErrorCode::device_unavailable,
              fmt::format("{} keeps no budget: {}", context.device_name(), support.refusal), {},
              "load without a budget, or one part of the checkpoint after the other");
}

}  // namespace

ReservedArena::ReservedArena(std::shared_ptr<const Context> context, std::uint64_t bytes)
    : context_(std::move(context)), support_(support_of(*context_)), way_back_(*context_) {
  if (bytes == 0) return;
  const CurrentContext current(*context_);
  addresses_ = std::make_unique<const ReservedAddresses>(*context_, support_.round_up(bytes), support_.granularity);
}

ReservedArena::~ReservedArena() {
  const MutexLock lock(mutex_);
  pieces_.clear();  // before their addresses
}

std::byte* ReservedArena::data() const noexcept {
  return addresses_ == nullptr ? nullptr : reinterpret_cast<std::byte*>(addresses_->pointer());
}

void ReservedArena::bind(std::uint64_t offset, std::uint64_t bytes, bool zeroed) {
  const CurrentContext current(*context_);
  const cu::DevicePointer at = addresses_->pointer() + offset;
  auto piece = std::make_unique<const BoundMemory>(*context_, support_, at, bytes);
  if (zeroed) fill_with_zeros(at, bytes);
  const MutexLock lock(mutex_);
  pieces_.emplace(offset, std::move(piece));
}

void ReservedArena::fill_with_zeros(cu::DevicePointer at, std::uint64_t bytes) const {
  const Stream stream(*context_);
  context_->check(context_->driver().cuMemsetD8Async(at, 0, bytes, stream.handle()), "cuMemsetD8Async");
  stream.synchronize();
}

void ReservedArena::unbind(std::uint64_t offset, std::uint64_t) noexcept {
  std::unique_ptr<const BoundMemory> piece;
  {
    const MutexLock lock(mutex_);
    const auto found = pieces_.find(offset);
    if (found == pieces_.end()) return;
    piece = std::move(found->second);
    pieces_.erase(found);
  }
}

}  // namespace sluice
