// Descriptor: an open file of the tool's, closed at the end. Plain owner; not thread-safe.
#pragma once

#include <unistd.h>

#include <utility>

namespace sluice::tool {

class Descriptor {
 public:
  Descriptor() noexcept = default;
  explicit Descriptor(int value) noexcept : value_(value) {}
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~Descriptor() {
    if (value_ >= 0) close(value_);
  }

  int get() const noexcept { return value_; }
  bool is_open() const noexcept { return value_ >= 0; }

 private:
  int value_ = -1;
};

}  // namespace sluice::tool
