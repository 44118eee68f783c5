#include "loader/engine/slab_memory.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <new>
#include <utility>

#include "loader/base/stopwatch.hpp"
#include "loader/base/thread.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

// Pinned within some milliseconds in huge pages. While it happens, other calls into the driver wait, those of other
// processes too: so not too much at a time.
constexpr std::uint64_t pinned_chunk_bytes = 32ull << 20;

}  // namespace

SlabMemory::SlabMemory(std::uint64_t slab_bytes, std::uint32_t count, std::shared_ptr<Pinner> pinner, Workers& workers,
                       Wakeup& wakeup)
    : slab_bytes_(slab_bytes),
      // No slab lies in two chunks: a copy may not cross from one pinned span into another.
      chunk_bytes_(std::max(slab_bytes, pinned_chunk_bytes - pinned_chunk_bytes % slab_bytes)),
      pinner_(std::move(pinner)),
      wakeup_(wakeup),
      mapping_(slab_bytes * count, "staging"),
      memory_(mapping_.data(), slab_bytes * count),
      tasks_(workers) {
  mapping_.keep_from_fork(true);
  if (pinner_ == nullptr) {
    ready_ = memory_.size();
    return;
  }
  mapping_.prefer_node(pinner_->numa_node());
  on_own_thread("sluice-pin", [this] { pin_first(); });
}

SlabMemory::~SlabMemory() {
  tasks_.wait();
  if (pinner_ != nullptr) rather_on_own_thread("sluice-pin", [this] { unpin(); });
}

void SlabMemory::unpin() noexcept {
  if (mapping_.data() == nullptr) {
    pinner_->free(memory_);
    return;
  }
  for (std::uint64_t offset = 0; offset < ready_; offset += chunk_bytes_) pinner_->unpin(chunk(offset));
}

std::string SlabMemory::refusal() const {
  const MutexLock lock(mutex_);
  return refusal_;
}

std::span<std::byte> SlabMemory::chunk(std::uint64_t offset) const noexcept {
  return memory_.subspan(offset, std::min(chunk_bytes_, memory_.size() - offset));
}

void SlabMemory::pin_first() {
  try {
    pin_chunk(0);
  } catch (const Error& error) {
    mapping_ = {};
    allocate_pinned(error.what());
  }
}

void SlabMemory::pin_chunk(std::uint64_t offset) {
  const Stopwatch stopwatch;
  const std::span<std::byte> memory = chunk(offset);
  pinner_->pin(memory);
  ready_ = offset + memory.size();
  pinning_seconds_ = pinning_seconds_ + stopwatch.seconds();
}

void SlabMemory::grow() noexcept {
  if (ready_ == memory_.size() || growing_.exchange(true)) return;
  try {
    tasks_.run([this] { pin_next(); });
  } catch (const std::exception&) {
    growing_ = false;
  }
}

void SlabMemory::pin_next() noexcept {
  try {
    pin_chunk(ready_);
    growing_ = false;
  } catch (const std::exception& error) {
    std::string refusal = "no memory";  // short enough to need none
    try {
      refusal = fmt::format("{}; {} of {} bytes are pinned, and used", error.what(), ready_.load(), memory_.size());
    } catch (const std::bad_alloc&) {
      // The short word has to do.
    }
    const MutexLock lock(mutex_);
    refusal_ = std::move(refusal);
  }
  wakeup_.notify();  // last: whoever it wakes finds what has come of it
}

void SlabMemory::allocate_pinned(const std::string& refusal) {
  const Stopwatch stopwatch;
  for (std::uint64_t bytes = memory_.size();; bytes = std::max(slab_bytes_, bytes / 2 - bytes / 2 % slab_bytes_)) {
    try {
      memory_ = pinner_->allocate(bytes);
      break;
    } catch (const Error&) {
      if (bytes == slab_bytes_) throw;
    }
  }
  ready_ = memory_.size();
  pinning_seconds_ = stopwatch.seconds();
  try {
    const MutexLock lock(mutex_);
    refusal_ = fmt::format("{}; {} bytes that the driver allocated are used instead", refusal, memory_.size());
  } catch (...) {
    unpin();
    throw;
  }
}

}  // namespace sluice
