#include "loader/engine/staging.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace sluice {

Staging::Staging(std::uint64_t slab_bytes, std::unique_ptr<SlabMemory> memory)
    : slab_bytes_(slab_bytes), memory_(std::move(memory)) {
  free_.reserve(slab_count());
  uses_.reserve(slab_count());
}

std::byte* Staging::take() noexcept {
  const std::uint64_t ready = memory_->ready_bytes() / slab_bytes_;
  while (!free_.empty() && free_.back() >= ready) free_.pop_back();  // it was not pinned, and never will be
  if (free_.empty()) {
    if (uses_.size() + 1 >= ready) memory_->grow();  // so that there is more when it is asked for
    if (uses_.size() >= ready) return nullptr;
    free_.push_back(static_cast<std::uint32_t>(uses_.size()));
    uses_.push_back(0);
  }
  const std::uint32_t index = free_.back();
  free_.pop_back();
  uses_[index] = 1;
  out_peak_ = std::max(out_peak_, ++out_);
  return memory_->bytes().data() + index * slab_bytes_;
}

void Staging::allocate() {
  uses_.clear();
  free_.clear();
  out_ = 0;
  memory_->allocate();
}

void Staging::count(std::byte* slab, std::uint32_t uses) noexcept {
  assert(uses > 0 && uses_[index_of(slab)] == 1);
  uses_[index_of(slab)] = uses;
}

void Staging::give_back(std::byte* slab) noexcept {
  const std::uint32_t index = index_of(slab);
  assert(uses_[index] > 0);
  if (--uses_[index] > 0) return;
  free_.push_back(index);
  --out_;
}

void Staging::give_back_all() noexcept {
  for (std::uint32_t index = 0; index < uses_.size(); ++index) {
    if (std::exchange(uses_[index], 0) != 0) free_.push_back(index);
  }
  out_ = 0;
}

std::uint64_t Staging::take_peak_bytes() noexcept {
  return slab_bytes_ * std::exchange(out_peak_, out_);
}

std::uint32_t Staging::index_of(const std::byte* slab) const noexcept {
  const auto distance = static_cast<std::uint64_t>(slab - memory_->bytes().data());
  assert(distance % slab_bytes_ == 0 && distance / slab_bytes_ < uses_.size());
  return static_cast<std::uint32_t>(distance / slab_bytes_);
}

}  // namespace sluice
