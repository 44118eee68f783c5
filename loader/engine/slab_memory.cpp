#include "loader/engine/slab_memory.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <new>
#include <utility>

#include "loader/base/alignment.hpp"
#include "loader/base/stopwatch.hpp"
#include "loader/base/thread.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

// Pinned within some milliseconds in huge pages. While it happens, other calls into the driver wait, those of other
// processes too: so not too much at a time.
constexpr std::uint64_t pinned_chunk_bytes = 32ull << 20;

}  // namespace

SlabMemory::SlabMemory(std::uint64_t slab_bytes, std::uint32_t count, Workers& workers, Wakeup& wakeup)
    : slab_bytes_(slab_bytes),
      // No slab lies in two chunks: a copy may not cross from one pinned span into another.
      chunk_bytes_(std::max(slab_bytes, pinned_chunk_bytes - pinned_chunk_bytes % slab_bytes)),
      wakeup_(wakeup),
      mapping_(slab_bytes * count, "staging"),
      memory_(mapping_.data(), slab_bytes * count),
      ready_(memory_.size()),
      pinned_(memory_.size()),
      tasks_(workers) {
  mapping_.keep_from_fork(true);
}

SlabMemory::~SlabMemory() {
  tasks_.wait();
  if (pinner_ != nullptr) rather_on_own_thread("sluice-pin", [this] { unpin(); });
}

void SlabMemory::unpin() noexcept {
  if (mapping_.data() == nullptr) {
    if (!memory_.empty()) pinner_->free(memory_);
    return;
  }
  for (std::uint64_t offset = 0; offset < pinned_; offset += chunk_bytes_) pinner_->unpin(chunk(offset));
}

std::string SlabMemory::refusal() const {
  const MutexLock lock(mutex_);
  return refusal_;
}

std::span<std::byte> SlabMemory::chunk(std::uint64_t offset) const noexcept {
  return memory_.subspan(offset, std::min(chunk_bytes_, memory_.size() - offset));
}

void SlabMemory::pin(std::shared_ptr<Pinner> pinner, std::uint64_t used_bytes) {
  if (pinner_ != nullptr) return;
  const int node = pinner->numa_node();
  if (node >= 0) {
    const int its = used_bytes == 0 ? -1 : mapping_.node_of_first_page();
    lies_elsewhere_ = its >= 0 && its != node;
    mapping_.prefer_node(node);
  }
  pinner_ = std::move(pinner);
  pinned_ = 0;
  ready_ = std::min(memory_.size(),
                    std::max<std::uint64_t>(1, (used_bytes + chunk_bytes_ - 1) / chunk_bytes_) * chunk_bytes_);
  try {
    begin_to_pin();
  } catch (...) {
    pinner_ = nullptr;
    ready_ = pinned_ = memory_.size();
    throw;
  }
}

void SlabMemory::grow() noexcept {
  if (pinner_ == nullptr || ready_ == memory_.size()) return;
  try {
    begin_to_pin();
  } catch (const std::exception&) {
    // It will be asked for again.
  }
}

void SlabMemory::begin_to_pin() {
  if (pinning_.exchange(true)) return;
  // The last chunk may have been pinned since the caller looked.
  if (pinned_ == memory_.size()) {
    pinning_ = false;
    return;
  }
  try {
    tasks_.run([this] { pin_what_is_ready(); });
  } catch (...) {
    pinning_ = false;
    throw;
  }
}

/// And a chunk more, where all of that is pinned.
void SlabMemory::pin_what_is_ready() noexcept {
  try {
    for (pin_chunk(); pinned_ < ready_; pin_chunk()) wakeup_.notify();
    pinning_ = false;
  } catch (const std::exception& error) {
    refuse(error.what());
  }
  wakeup_.notify();  // last: whoever it wakes finds what has come of it
}

void SlabMemory::pin_chunk() {
  const Stopwatch stopwatch;
  const std::span<std::byte> memory = chunk(pinned_);
  pinner_->pin(memory);
  const std::uint64_t pinned = pinned_ + memory.size();
  ready_ = std::max<std::uint64_t>(ready_, pinned);
  pinned_ = pinned;
  pinning_seconds_ = pinning_seconds_ + stopwatch.seconds();
}

void SlabMemory::refuse(const char* reason) noexcept {
  std::string refusal = "no memory";  // short enough to need none
  try {
    refusal = pinned_ == 0
                  ? std::string(reason)
                  : fmt::format("{}; {} of {} bytes are pinned, and used", reason, pinned_.load(), memory_.size());
  } catch (const std::bad_alloc&) {
    // The short word has to do.
  }
  {
    const MutexLock lock(mutex_);
    refusal_ = std::move(refusal);
  }
  ready_ = pinned_.load();
  refused_ = true;
}

void SlabMemory::allocate() {
  on_own_thread("sluice-pin", [this] { allocate_pinned(); });
}

void SlabMemory::allocate_pinned() {
  const Stopwatch stopwatch;
  std::string refused = refusal();
  std::uint64_t bytes = std::exchange(memory_, {}).size();
  mapping_ = {};
  for (; memory_.empty(); bytes = std::max(slab_bytes_, bytes / 2 - bytes / 2 % slab_bytes_)) {
    try {
      memory_ = pinner_->allocate(bytes);
    } catch (const Error&) {
      if (bytes == slab_bytes_) throw;
    }
  }
  pinning_seconds_ = pinning_seconds_ + stopwatch.seconds();
  refused = fmt::format("{}; {} bytes that the driver allocated are used instead", refused, memory_.size());
  {
    const MutexLock lock(mutex_);
    refusal_ = std::move(refused);
  }
  ready_ = pinned_ = memory_.size();
}

}  // namespace sluice
