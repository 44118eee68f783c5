#include "loader/c/dlpack.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "sluice/error.hpp"

namespace sluice {
namespace {

constexpr DLPackVersion dlpack_version = {.major = 1, .minor = 1};

// What DLPack is given: its struct, and what the struct points to.
template <typename Managed>
struct Handed {
  Managed managed = {};
  std::shared_ptr<const Tensor> tensor;
  std::vector<std::int64_t> numbers;  // shape, then strides

  static void give_back(Managed* managed) noexcept { delete static_cast<Handed*>(managed->manager_ctx); }
};

Error no_dlpack(const Tensor& tensor, const std::string& why) {
  return {ErrorCode::unsupported_format,
          why,
          {.path = {}, .offset = {}, .tensor = std::string(tensor.name)},
          "take its bytes by its address"};
}

DLDataTypeCode code_of(const Tensor& tensor) {
  switch (tensor.dtype) {
    case Dtype::boolean:
      return kDLBool;
    case Dtype::u8:
    case Dtype::u16:
    case Dtype::u32:
    case Dtype::u64:
      return kDLUInt;
    case Dtype::i8:
    case Dtype::i16:
    case Dtype::i32:
    case Dtype::i64:
      return kDLInt;
    case Dtype::f16:
    case Dtype::f32:
    case Dtype::f64:
      return kDLFloat;
    case Dtype::bf16:
      return kDLBfloat;
    case Dtype::c64:
      return kDLComplex;
    case Dtype::f8_e4m3:
      return kDLFloat8_e4m3fn;
    case Dtype::f8_e5m2:
      return kDLFloat8_e5m2;
    case Dtype::f8_e8m0:
      return kDLFloat8_e8m0fnu;
    case Dtype::f8_e4m3fnuz:
      return kDLFloat8_e4m3fnuz;
    case Dtype::f8_e5m2fnuz:
      return kDLFloat8_e5m2fnuz;
    case Dtype::f4:
      return kDLFloat4_e2m1fn;
    case Dtype::f6_e2m3:
    case Dtype::f6_e3m2:
      break;
  }
  throw no_dlpack(tensor, "frameworks take no tensors of " + std::string(name(tensor.dtype)));
}

DLDevice device_of(const Tensor& tensor) {
  switch (tensor.device.kind) {
    case DeviceId::Kind::host:
      return {kDLCPU, 0};
    case DeviceId::Kind::cuda:
      return {kDLCUDA, tensor.device.ordinal};
    case DeviceId::Kind::null:
      break;
  }
  throw Error(ErrorCode::invalid_argument, "the null device keeps nothing that could be handed over",
              {.path = {}, .offset = {}, .tensor = std::string(tensor.name)});
}

// DLPack counts with a sign. A tensor of no elements may have any number in its shape, and products of them as strides.
std::int64_t with_sign(std::uint64_t number) {
  return static_cast<std::int64_t>(std::min<std::uint64_t>(number, INT64_MAX));
}

// Shape, then strides.
std::vector<std::int64_t> numbers_of(const Tensor& tensor) {
  const std::size_t dimensions = tensor.shape.size();
  std::vector<std::int64_t> numbers(2 * dimensions);
  std::uint64_t stride = 1;
  for (std::size_t d = dimensions; d-- > 0;) {
    numbers[d] = with_sign(tensor.shape[d]);
    numbers[dimensions + d] = with_sign(tensor.strides.empty() ? stride : tensor.strides[d]);
    stride *= tensor.shape[d];
  }
  return numbers;
}

// torch takes F4 as pairs only (float4_e2m1fn_x2). The last dimension's pairs lie side by side; all other strides count
// pairs from now on.
void make_pairs(const Tensor& tensor, std::vector<std::int64_t>& numbers) {
  const std::size_t dimensions = tensor.shape.size();
  bool even = dimensions > 0 && numbers[dimensions - 1] % 2 == 0 && numbers.back() == 1;
  for (std::size_t d = dimensions; d + 1 < 2 * dimensions; ++d) even = even && numbers[d] % 2 == 0;
  if (!even) throw no_dlpack(tensor, "an F4 tensor is handed over as pairs of its last dimension, which has no pairs");
  numbers[dimensions - 1] /= 2;
  for (std::size_t d = dimensions; d + 1 < 2 * dimensions; ++d) numbers[d] /= 2;
}

template <typename Managed>
std::unique_ptr<Handed<Managed>> hand(std::shared_ptr<const Tensor>&& tensor) {
  auto handed = std::make_unique<Handed<Managed>>();
  handed->numbers = numbers_of(*tensor);
  const bool pairs = tensor->dtype == Dtype::f4;
  if (pairs) make_pairs(*tensor, handed->numbers);
  const std::size_t dimensions = tensor->shape.size();
  const auto element_bits = static_cast<std::uint8_t>(bits(tensor->dtype));
  handed->managed.dl_tensor = {
      .data = tensor->data,
      .device = device_of(*tensor),
      .ndim = static_cast<std::int32_t>(dimensions),
      .dtype = {.code = code_of(*tensor), .bits = element_bits, .lanes = static_cast<std::uint16_t>(pairs ? 2 : 1)},
      .shape = handed->numbers.data(),
      .strides = handed->numbers.data() + dimensions,
      .byte_offset = 0};
  handed->managed.manager_ctx = handed.get();
  handed->managed.deleter = Handed<Managed>::give_back;
  handed->tensor = std::move(tensor);
  return handed;
}

}  // namespace

DLManagedTensorVersioned* make_dlpack(std::shared_ptr<const Tensor> tensor) {
  auto handed = hand<DLManagedTensorVersioned>(std::move(tensor));
  handed->managed.version = dlpack_version;
  return &handed.release()->managed;
}

DLManagedTensor* make_unversioned_dlpack(std::shared_ptr<const Tensor> tensor) {
  return &hand<DLManagedTensor>(std::move(tensor)).release()->managed;
}

}  // namespace sluice
