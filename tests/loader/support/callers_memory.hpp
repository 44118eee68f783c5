// CallersMemory: memory that a test gives to loads, as an engine does: on each device blocks at multiples of 4096,
// which stay as long as this.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "sluice/device.hpp"

namespace sluice {

class CallersMemory {
 public:
  virtual ~CallersMemory() = default;
  virtual std::byte* allocate(DeviceId device, std::size_t bytes) = 0;
  virtual std::vector<std::byte> read(DeviceId device, const std::byte* from, std::size_t bytes) const = 0;
  virtual void fill(DeviceId device, std::byte* target, std::byte value, std::size_t bytes) const = 0;
};

class CallersHostMemory : public CallersMemory {
 public:
  ~CallersHostMemory() override {
    for (void* const block : blocks_) std::free(block);
  }
  CallersHostMemory() = default;
  CallersHostMemory(const CallersHostMemory&) = delete;
  CallersHostMemory& operator=(const CallersHostMemory&) = delete;

  std::byte* allocate(DeviceId, std::size_t bytes) override {
    blocks_.push_back(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096));
    return static_cast<std::byte*>(blocks_.back());
  }
  std::vector<std::byte> read(DeviceId, const std::byte* from, std::size_t bytes) const override {
    return {from, from + bytes};
  }
  void fill(DeviceId, std::byte* target, std::byte value, std::size_t bytes) const override {
    std::memset(target, std::to_integer<int>(value), bytes);
  }

 private:
  std::vector<void*> blocks_;
};

}  // namespace sluice
