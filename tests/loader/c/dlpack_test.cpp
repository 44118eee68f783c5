// Goal: a tensor that is handed over says of itself what it is, and holds its memory as long as it is held.
// Method: tensors made by hand, every dtype among them, whose owner is counted; structs compared with the ABI by
// offset.
#include "loader/c/dlpack.hpp"

#include <gmock/gmock.h>

#include <array>
#include <cstddef>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "sluice/error.hpp"

namespace sluice {
namespace {

static_assert(sizeof(DLTensor) == 48 && offsetof(DLTensor, dtype) == 20 && offsetof(DLTensor, byte_offset) == 40);
static_assert(sizeof(DLManagedTensorVersioned) == 80 && offsetof(DLManagedTensorVersioned, flags) == 24);
static_assert(offsetof(DLManagedTensorVersioned, dl_tensor) == 32);
static_assert(sizeof(DLManagedTensor) == 64 && offsetof(DLManagedTensor, deleter) == 56);

using testing::ElementsAre;
using testing::IsEmpty;

struct OwnedTensor {
  std::vector<std::uint64_t> shape;
  std::vector<std::uint64_t> strides;
  Tensor view;
};

std::shared_ptr<const Tensor> tensor_of(Dtype dtype, const std::vector<std::uint64_t>& shape,
                                        const std::vector<std::uint64_t>& strides = {}, DeviceId device = host()) {
  static std::array<std::byte, 4096> memory;
  const auto owned = std::make_shared<OwnedTensor>(OwnedTensor{shape, strides, {}});
  owned->view = {.name = "t",
                 .shape = owned->shape,
                 .data = memory.data(),
                 .bytes = 64,
                 .dtype = dtype,
                 .device = device,
                 .group = {},
                 .strides = owned->strides};
  return {owned, &owned->view};
}

template <typename Managed>
std::vector<std::int64_t> shape_of(const Managed* managed) {
  return {managed->dl_tensor.shape, managed->dl_tensor.shape + managed->dl_tensor.ndim};
}
template <typename Managed>
std::vector<std::int64_t> strides_of(const Managed* managed) {
  return {managed->dl_tensor.strides, managed->dl_tensor.strides + managed->dl_tensor.ndim};
}

ErrorCode refusal_of(const std::shared_ptr<const Tensor>& tensor) {
  try {
    DLManagedTensorVersioned* const managed = make_dlpack(tensor);
    managed->deleter(managed);
  } catch (const Error& error) {
    EXPECT_EQ(error.tensor(), "t");
    return error.code();
  }
  return ErrorCode{};
}

TEST(Dlpack, SaysWhereTheTensorIsAndHow) {
  const auto tensor = tensor_of(bf16, {2, 3, 5}, {}, cuda(3));
  DLManagedTensorVersioned* const managed = make_dlpack(tensor);
  EXPECT_EQ(managed->version.major, 1u);
  EXPECT_EQ(managed->version.minor, 1u);
  EXPECT_EQ(managed->flags, 0u);
  EXPECT_EQ(managed->dl_tensor.data, tensor->data);
  EXPECT_EQ(managed->dl_tensor.byte_offset, 0u);
  EXPECT_EQ(managed->dl_tensor.device.device_type, kDLCUDA);
  EXPECT_EQ(managed->dl_tensor.device.device_id, 3);
  EXPECT_THAT(shape_of(managed), ElementsAre(2, 3, 5));
  EXPECT_THAT(strides_of(managed), ElementsAre(15, 5, 1));
  managed->deleter(managed);
}

TEST(Dlpack, SaysTheSameInTheOlderForm) {
  const auto tensor = tensor_of(f32, {4, 2}, {8, 1});
  DLManagedTensor* const managed = make_unversioned_dlpack(tensor);
  EXPECT_EQ(managed->dl_tensor.data, tensor->data);
  EXPECT_EQ(managed->dl_tensor.device.device_type, kDLCPU);
  EXPECT_EQ(managed->dl_tensor.device.device_id, 0);
  EXPECT_THAT(shape_of(managed), ElementsAre(4, 2));
  EXPECT_THAT(strides_of(managed), ElementsAre(8, 1));
  EXPECT_EQ(tensor.use_count(), 2);
  managed->deleter(managed);
  EXPECT_EQ(tensor.use_count(), 1);
}

TEST(Dlpack, HoldsTheTensorUntilItsDeleterRunsOnWhateverThread) {
  auto tensor = tensor_of(f32, {2});
  const std::weak_ptr<const Tensor> watched = tensor;
  DLManagedTensorVersioned* const managed = make_dlpack(std::move(tensor));
  EXPECT_FALSE(watched.expired());
  std::thread([&] { managed->deleter(managed); }).join();
  EXPECT_TRUE(watched.expired());
}

TEST(Dlpack, KnowsEveryDtypeButF6) {
  const std::map<std::string, std::array<int, 3>> wanted = {
      // code, bits, lanes
      {"BOOL", {6, 8, 1}},     {"U8", {1, 8, 1}},           {"I8", {0, 8, 1}},           {"U16", {1, 16, 1}},
      {"I16", {0, 16, 1}},     {"U32", {1, 32, 1}},         {"I32", {0, 32, 1}},         {"U64", {1, 64, 1}},
      {"I64", {0, 64, 1}},     {"F16", {2, 16, 1}},         {"BF16", {4, 16, 1}},        {"F32", {2, 32, 1}},
      {"F64", {2, 64, 1}},     {"C64", {5, 64, 1}},         {"F8_E4M3", {10, 8, 1}},     {"F8_E5M2", {12, 8, 1}},
      {"F8_E8M0", {14, 8, 1}}, {"F8_E4M3FNUZ", {11, 8, 1}}, {"F8_E5M2FNUZ", {13, 8, 1}}, {"F4", {17, 4, 2}},
  };
  std::map<std::string, std::array<int, 3>> said;
  std::vector<Dtype> refused;
  for (unsigned i = 0; i < dtype_count; ++i) {
    const auto dtype = static_cast<Dtype>(i);
    if (refusal_of(tensor_of(dtype, {8})) == ErrorCode::unsupported_format) {
      refused.push_back(dtype);
      continue;
    }
    DLManagedTensorVersioned* const managed = make_dlpack(tensor_of(dtype, {8}));
    const DLDataType type = managed->dl_tensor.dtype;
    said[std::string(name(dtype))] = {type.code, type.bits, type.lanes};
    managed->deleter(managed);
  }
  EXPECT_EQ(said, wanted);
  EXPECT_THAT(refused, ElementsAre(Dtype::f6_e2m3, Dtype::f6_e3m2));
}

TEST(Dlpack, HandsF4OverAsPairs) {
  DLManagedTensorVersioned* managed = make_dlpack(tensor_of(Dtype::f4, {3, 8}));
  EXPECT_THAT(shape_of(managed), ElementsAre(3, 4));
  EXPECT_THAT(strides_of(managed), ElementsAre(4, 1));
  managed->deleter(managed);
  managed = make_dlpack(tensor_of(Dtype::f4, {3, 8}, {16, 1}));
  EXPECT_THAT(strides_of(managed), ElementsAre(8, 1));
  managed->deleter(managed);
  EXPECT_EQ(refusal_of(tensor_of(Dtype::f4, {2, 3})), ErrorCode::unsupported_format);
  EXPECT_EQ(refusal_of(tensor_of(Dtype::f4, {2, 8}, {9, 1})), ErrorCode::unsupported_format);
  EXPECT_EQ(refusal_of(tensor_of(Dtype::f4, {})), ErrorCode::unsupported_format);
}

TEST(Dlpack, TakesScalarsAndTensorsOfNoElements) {
  DLManagedTensorVersioned* managed = make_dlpack(tensor_of(f32, {}));
  EXPECT_EQ(managed->dl_tensor.ndim, 0);
  EXPECT_THAT(shape_of(managed), IsEmpty());
  managed->deleter(managed);
  managed = make_dlpack(tensor_of(f32, {UINT64_MAX, 0, 3}));
  EXPECT_THAT(shape_of(managed), ElementsAre(INT64_MAX, 0, 3));
  EXPECT_THAT(strides_of(managed), ElementsAre(0, 3, 1));
  managed->deleter(managed);
}

TEST(Dlpack, RefusesTheNullDeviceWhichKeepsNothing) {
  const auto tensor = tensor_of(f32, {2}, {}, null());
  EXPECT_EQ(refusal_of(tensor), ErrorCode::invalid_argument);
  EXPECT_EQ(tensor.use_count(), 1);
}

}  // namespace
}  // namespace sluice
