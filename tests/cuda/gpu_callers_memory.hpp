// CallersGpuMemory: memory that a test gives to loads, on GPUs and on the host.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "cuda/context.hpp"
#include "cuda/device_memory.hpp"
#include "loader/base/alignment.hpp"
#include "tests/loader/support/callers_memory.hpp"

namespace sluice {

class CallersGpuMemory final : public CallersHostMemory {
 public:
  const Context& context(DeviceId device) const {
    std::unique_ptr<const Context>& its = contexts_[device.ordinal];
    if (its == nullptr) its = std::make_unique<const Context>(device.ordinal);
    return *its;
  }

  std::byte* allocate(DeviceId device, std::size_t bytes) override {
    if (device.kind != DeviceId::Kind::cuda) return CallersHostMemory::allocate(device, bytes);
    allocations_.push_back(std::make_unique<const DeviceMemory>(context(device), bytes + 4096));
    return reinterpret_cast<std::byte*>(align_up(allocations_.back()->pointer(), 4096));
  }
  std::vector<std::byte> read(DeviceId device, const std::byte* from, std::size_t bytes) const override {
    if (device.kind != DeviceId::Kind::cuda) return CallersHostMemory::read(device, from, bytes);
    std::vector<std::byte> content(bytes);
    const Context& its = context(device);
    const CurrentContext current(its);
    its.check(its.driver().cuMemcpyDtoH(content.data(), reinterpret_cast<cu::DevicePointer>(from), bytes),
              "cuMemcpyDtoH");
    return content;
  }
  void fill(DeviceId device, std::byte* target, std::byte value, std::size_t bytes) const override {
    if (device.kind != DeviceId::Kind::cuda) return CallersHostMemory::fill(device, target, value, bytes);
    const Context& its = context(device);
    const CurrentContext current(its);
    const Stream stream(its);
    its.check(its.driver().cuMemsetD8Async(reinterpret_cast<cu::DevicePointer>(target),
                                           std::to_integer<unsigned char>(value), bytes, stream.handle()),
              "cuMemsetD8Async");
  }

 private:
  mutable std::map<int, std::unique_ptr<const Context>> contexts_;
  std::vector<std::unique_ptr<const DeviceMemory>> allocations_;  // behind their contexts: they go first
};

}  // namespace sluice
