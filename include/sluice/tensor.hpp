// Tensor: what the caller gets. A view: its memory belongs to the Load that delivered it and is valid until that Load
// is destroyed; its name and shape likewise. Copy the view freely, from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "sluice/device.hpp"
#include "sluice/dtype.hpp"

namespace sluice {

struct Tensor {
  std::string_view name;
  std::span<const std::uint64_t> shape;  // row-major, outermost first; empty for a scalar
  void* data = nullptr;                  // on `device`; nullptr on the null device and for a tensor of no bytes
  std::uint64_t bytes = 0;               // as delivered
  Dtype dtype = Dtype::u8;               // as delivered
  DeviceId device;
};

}  // namespace sluice
