#include "loader/staging.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace sluice {

Staging::Staging(std::uint64_t slab_bytes, std::uint32_t count)
    : slab_bytes_(slab_bytes), slab_count_(count), memory_(slab_bytes * count, "staging"), uses_(count, 0) {
  free_.reserve(count);
  for (std::uint32_t index = count; index-- > 0;) free_.push_back(index);
}

Staging::~Staging() {
  if (pinned_by_ != nullptr) pinned_by_->unpin(memory());
}

void Staging::pin_by(const std::shared_ptr<Device>& device) {
  if (pinned_by_ == nullptr && device->pin(memory())) pinned_by_ = device;
}

std::byte* Staging::take() noexcept {
  if (free_.empty()) return nullptr;
  const std::uint32_t index = free_.back();
  free_.pop_back();
  uses_[index] = 1;
  out_peak_ = std::max(out_peak_, slab_count_ - free_count());
  return memory_.data() + index * slab_bytes_;
}

void Staging::count(std::byte* slab, std::uint32_t uses) noexcept {
  assert(uses > 0 && uses_[index_of(slab)] == 1);
  uses_[index_of(slab)] = uses;
}

void Staging::give_back(std::byte* slab) noexcept {
  const std::uint32_t index = index_of(slab);
  assert(uses_[index] > 0);
  if (--uses_[index] == 0) free_.push_back(index);
}

void Staging::give_back_all() noexcept {
  for (std::uint32_t index = 0; index < slab_count_; ++index) {
    if (std::exchange(uses_[index], 0) != 0) free_.push_back(index);
  }
}

std::uint64_t Staging::take_peak_bytes() noexcept {
  const std::uint64_t peak = out_peak_ * slab_bytes_;
  out_peak_ = slab_count_ - free_count();
  return peak;
}

std::uint32_t Staging::index_of(const std::byte* slab) const noexcept {
  const auto distance = static_cast<std::uint64_t>(slab - memory_.data());
  assert(distance % slab_bytes_ == 0 && distance / slab_bytes_ < slab_count_);
  return static_cast<std::uint32_t>(distance / slab_bytes_);
}

}  // namespace sluice
