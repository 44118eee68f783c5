// Values of sluice.h and of the C++ headers, each made of the other. What C gives is checked: it throws
// Error{invalid_argument}.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "sluice/checkpoint.hpp"
#include "sluice/device.hpp"
#include "sluice/dtype.hpp"
#include "sluice/options.hpp"
#include "sluice/sluice.h"
#include "sluice/tensor.hpp"

namespace sluice::border {

/// Nothing for a number that is no dtype.
std::optional<Dtype> known_dtype(std::uint32_t dtype) noexcept;
Dtype dtype_of(std::uint32_t dtype);

DeviceId device_of(sluice_device device);
/// Nothing for SLUICE_ANY.
std::optional<DeviceId> device_or_any(sluice_device device);
std::vector<DeviceId> devices_of(const sluice_device* devices, std::uint32_t count);
sluice_device device_of(DeviceId device) noexcept;

Options options_of(const sluice_options* options);
sluice_options options_of(const Options& options) noexcept;

/// Indices of dimensions, or numbers of elements, one for each.
std::vector<std::uint64_t> numbers_of(const std::uint64_t* numbers, std::uint32_t dimensions, const char* what);

sluice_tensor tensor_of(const Tensor& tensor) noexcept;
sluice_tensor_info info_of(const TensorInfo& info) noexcept;

}  // namespace sluice::border
