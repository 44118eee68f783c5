// Tensor: what the caller gets. A view: name and shape, and memory unless it is the caller's own, belong to the Load
// that delivered it and are valid until that Load is destroyed. Copy the view freely, from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "sluice/destination.hpp"
#include "sluice/device.hpp"
#include "sluice/dtype.hpp"

namespace sluice {

/// A piece of memory on a device.
struct Memory {
  DeviceId device;
  void* data = nullptr;
  std::uint64_t bytes = 0;
};

struct Tensor {
  std::string_view name;
  std::span<const std::uint64_t> shape;  // row-major, outermost first; empty for a scalar
  void* data = nullptr;                  // on `device`; nullptr on the null device and for a tensor of no bytes
  std::uint64_t bytes = 0;               // as delivered
  Dtype dtype = Dtype::u8;               // as delivered
  DeviceId device;
  Group group;
  std::span<const std::uint64_t> strides;  // elements per index, where Destination::strides() gave them; else empty
};

}  // namespace sluice
