// DLPack: a tensor handed to another framework of the process with its memory: by pointer, without a copy. The structs
// are those of DLPack's ABI 1.1, written down from its specification (github.com/dmlc/dlpack, include/dlpack/dlpack.h,
// and dmlc.github.io/dlpack), as far as sluice fills them; they are of C and lie outside the namespace, as there.
//
// Both functions may be called from any thread, and so may the deleters: they call nothing of the framework, need no
// lock of its, and run after the Load and the engine are gone.
#pragma once

#include <cstdint>
#include <memory>

#include "sluice/tensor.hpp"

// NOLINTBEGIN(readability-identifier-naming): the names are DLPack's.

struct DLPackVersion {
  std::uint32_t major;
  std::uint32_t minor;
};

enum DLDeviceType : std::int32_t { kDLCPU = 1, kDLCUDA = 2 };

struct DLDevice {
  DLDeviceType device_type;
  std::int32_t device_id;
};

enum DLDataTypeCode : std::uint8_t {
  kDLInt = 0,
  kDLUInt = 1,
  kDLFloat = 2,
  kDLBfloat = 4,
  kDLComplex = 5,
  kDLBool = 6,
  kDLFloat8_e4m3fn = 10,  // from here on: 1.1
  kDLFloat8_e4m3fnuz = 11,
  kDLFloat8_e5m2 = 12,
  kDLFloat8_e5m2fnuz = 13,
  kDLFloat8_e8m0fnu = 14,
  kDLFloat4_e2m1fn = 17,
};

struct DLDataType {
  std::uint8_t code;
  std::uint8_t bits;    // of one lane
  std::uint16_t lanes;  // in one element
};

struct DLTensor {
  void* data;
  DLDevice device;
  std::int32_t ndim;
  DLDataType dtype;
  std::int64_t* shape;    // in elements
  std::int64_t* strides;  // likewise
  std::uint64_t byte_offset;
};

struct DLManagedTensorVersioned {
  DLPackVersion version;
  void* manager_ctx;
  void (*deleter)(DLManagedTensorVersioned* self);
  std::uint64_t flags;
  DLTensor dl_tensor;
};

/// The form of DLPack before 1.0.
struct DLManagedTensor {
  DLTensor dl_tensor;
  void* manager_ctx;
  void (*deleter)(DLManagedTensor* self);
};

// NOLINTEND(readability-identifier-naming)

namespace sluice {

/// `tensor` for another framework, held until the deleter runs, which whoever takes it calls once. Strides are always
/// set. An F4 tensor is said as pairs, two lanes an element, so that its last dimension is halved. Throws
/// Error{unsupported_format} for F6, which no framework takes, and for an F4 tensor that is not made of pairs;
/// Error{invalid_argument} for a tensor on the null device, which keeps nothing.
DLManagedTensorVersioned* make_dlpack(std::shared_ptr<const Tensor> tensor);

/// The same in the older form.
DLManagedTensor* make_unversioned_dlpack(std::shared_ptr<const Tensor> tensor);

}  // namespace sluice
