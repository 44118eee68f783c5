// Few: a sequence that holds up to four elements without an allocation. Part of Slice, of which a request may hold a
// hundred thousand. A plain value.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace sluice {

template <typename T>
class Few {
 public:
  Few() noexcept = default;
  explicit Few(std::span<const T> elements) {
    for (const T& element : elements) push_back(element);
  }
  Few(const Few& other)
      : inline_(other.inline_),
        more_(other.more_ == nullptr ? nullptr : std::make_unique<std::vector<T>>(*other.more_)),
        size_(other.size_) {}
  Few(Few&& other) noexcept : inline_(other.inline_), more_(std::move(other.more_)), size_(other.size_) {
    other.size_ = 0;
  }
  Few& operator=(Few other) noexcept {
    inline_ = other.inline_;
    more_ = std::move(other.more_);
    size_ = other.size_;
    return *this;
  }
  ~Few() = default;

  void push_back(const T& element) {
    if (size_ < inline_max) {
      inline_[size_] = element;
    } else {
      if (more_ == nullptr) more_ = std::make_unique<std::vector<T>>(begin(), end());
      more_->push_back(element);
    }
    ++size_;
  }

  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  T* begin() noexcept { return more_ == nullptr ? inline_.data() : more_->data(); }
  T* end() noexcept { return begin() + size_; }
  const T* begin() const noexcept { return more_ == nullptr ? inline_.data() : more_->data(); }
  const T* end() const noexcept { return begin() + size_; }
  T& operator[](std::size_t index) noexcept { return begin()[index]; }
  const T& operator[](std::size_t index) const noexcept { return begin()[index]; }
  const T& back() const noexcept { return begin()[size_ - 1]; }
  std::span<const T> all() const noexcept { return {begin(), size_}; }

  friend bool operator==(const Few& a, const Few& b) noexcept {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  }

 private:
  static constexpr std::size_t inline_max = 4;

  std::array<T, inline_max> inline_{};
  std::unique_ptr<std::vector<T>> more_;  // all of them, where there are more than fit
  std::uint32_t size_ = 0;
};

}  // namespace sluice
