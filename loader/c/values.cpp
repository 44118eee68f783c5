#include "loader/c/values.hpp"

#include <string>

#include "loader/c/border.hpp"
#include "sluice/error.hpp"
#include "sluice/limits.hpp"

namespace sluice::border {

// Numbers of C and of C++ are the same.
static_assert(SLUICE_F4 == static_cast<int>(Dtype::f4) && dtype_count == SLUICE_F4 + 1);
static_assert(SLUICE_HOST == static_cast<int>(DeviceId::Kind::host));
static_assert(SLUICE_CUDA == static_cast<int>(DeviceId::Kind::cuda));
static_assert(SLUICE_NULL == static_cast<int>(DeviceId::Kind::null));
static_assert(SLUICE_IO_BUFFERED == static_cast<int>(IoMode::buffered));
static_assert(SLUICE_READER_NULL == static_cast<int>(ReaderKind::null));
static_assert(SLUICE_BAD_RULES == static_cast<int>(ErrorCode::bad_rules));

std::optional<Dtype> known_dtype(std::uint32_t dtype) noexcept {
  if (dtype >= dtype_count) return std::nullopt;
  return static_cast<Dtype>(dtype);
}

Dtype dtype_of(std::uint32_t dtype) {
  const auto known = known_dtype(dtype);
  if (!known) refuse("dtype", ("is " + std::to_string(dtype) + ", which no dtype is").c_str());
  return *known;
}

DeviceId device_of(sluice_device device) {
  const bool numbered = device.kind == SLUICE_CUDA;
  if (!numbered && device.kind != SLUICE_HOST && device.kind != SLUICE_NULL) {
    refuse("device", ("is of kind " + std::to_string(device.kind) + ", which cannot be used here").c_str());
  }
  if (device.ordinal < 0 || (!numbered && device.ordinal != 0)) {
    refuse("device", ("has the ordinal " + std::to_string(device.ordinal)).c_str());
  }
  return {static_cast<DeviceId::Kind>(device.kind), device.ordinal};
}

std::optional<DeviceId> device_or_any(sluice_device device) {
  if (device.kind == SLUICE_ANY) return std::nullopt;
  return device_of(device);
}

std::vector<DeviceId> devices_of(const sluice_device* devices, std::uint32_t count) {
  std::vector<DeviceId> known;
  for (const sluice_device& device : list(devices, count, limits::devices_max, "devices")) {
    known.push_back(device_of(device));
  }
  return known;
}

sluice_device device_of(DeviceId device) noexcept {
  return sluice_device_of(static_cast<std::int32_t>(device.kind), device.ordinal);
}

Options options_of(const sluice_options* options) {
  const sluice_options given = taken(options, "options");
  if (given.io > SLUICE_IO_BUFFERED) refuse("io", "is no enum sluice_io");
  if (given.reader > SLUICE_READER_NULL) refuse("reader", "is no enum sluice_reader");
  Options known;
  known.io = static_cast<IoMode>(given.io);
  known.reader = static_cast<ReaderKind>(given.reader);
  known.trace = given.trace != 0;
  known.queue_depth = given.queue_depth;
  known.threads = given.threads;
  if (given.staging_bytes != 0) known.staging_bytes = given.staging_bytes;
  known.slab_bytes = given.slab_bytes;
  return known;
}

sluice_options options_of(const Options& options) noexcept {
  auto known = SLUICE_INIT(sluice_options);
  known.io = static_cast<std::uint32_t>(options.io);
  known.reader = static_cast<std::uint32_t>(options.reader);
  known.trace = options.trace ? 1 : 0;
  known.queue_depth = options.queue_depth;
  known.threads = options.threads;
  known.staging_bytes = options.staging_bytes;
  known.slab_bytes = options.slab_bytes;
  return known;
}

std::vector<std::uint64_t> numbers_of(const std::uint64_t* numbers, std::uint32_t dimensions, const char* what) {
  const auto all = list(numbers, dimensions, limits::dimensions_max, what);
  return {all.begin(), all.end()};
}

sluice_tensor tensor_of(const Tensor& tensor) noexcept {
  auto known = SLUICE_INIT(sluice_tensor);
  known.dtype = static_cast<std::uint32_t>(tensor.dtype);
  known.name = string(tensor.name);
  known.shape = tensor.shape.data();
  known.strides = tensor.strides.empty() ? nullptr : tensor.strides.data();
  known.dimensions = static_cast<std::uint32_t>(tensor.shape.size());
  known.group = tensor.group.number;
  known.device = device_of(tensor.device);
  known.data = tensor.data;
  known.bytes = tensor.bytes;
  return known;
}

sluice_tensor_info info_of(const TensorInfo& info) noexcept {
  auto known = SLUICE_INIT(sluice_tensor_info);
  known.dtype = static_cast<std::uint32_t>(info.dtype);
  known.name = string(info.name);
  known.shape = info.shape.data();
  known.dimensions = static_cast<std::uint32_t>(info.shape.size());
  known.shard = info.shard;
  known.offset = info.offset;
  known.bytes = info.bytes;
  return known;
}

}  // namespace sluice::border
