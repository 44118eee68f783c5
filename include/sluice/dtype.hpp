// Dtype: the element types of the safetensors format, under the names the format gives them.
// Source: `Dtype` in safetensors/src/tensor.rs, release 0.8.0. All functions here are pure and thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "sluice/export.hpp"

namespace sluice {

enum class Dtype : std::uint8_t {
  boolean,      // "BOOL", one byte
  u8,           // "U8"
  i8,           // "I8"
  u16,          // "U16"
  i16,          // "I16"
  u32,          // "U32"
  i32,          // "I32"
  u64,          // "U64"
  i64,          // "I64"
  f16,          // "F16", IEEE binary16
  bf16,         // "BF16", the upper half of a binary32
  f32,          // "F32"
  f64,          // "F64"
  c64,          // "C64", two F32: real, imaginary
  f8_e4m3,      // "F8_E4M3", OCP E4M3: no infinities, largest 448 (PyTorch's float8_e4m3fn)
  f8_e5m2,      // "F8_E5M2", OCP E5M2: IEEE-like, largest 57344
  f8_e8m0,      // "F8_E8M0", OCP scale: a power of two
  f8_e4m3fnuz,  // "F8_E4M3FNUZ"
  f8_e5m2fnuz,  // "F8_E5M2FNUZ"
  f6_e2m3,      // "F6_E2M3", 6 bits per element, packed
  f6_e3m2,      // "F6_E3M2", 6 bits per element, packed
  f4,           // "F4", E2M1, 4 bits per element, packed
};

// The dtypes that sluice casts from and to, short: request.add("*").cast(sluice::bf16). All others are Dtype::u8 and so
// on, so that a program which says `using namespace sluice` keeps its own u8 and i32.
using Dtype::bf16;
using Dtype::f16;
using Dtype::f32;
using Dtype::f64;
using Dtype::f8_e4m3;
using Dtype::f8_e5m2;

inline constexpr unsigned dtype_count = 22;

/// The name that safetensors spells: "BF16". Static storage.
SLUICE_API std::string_view name(Dtype dtype) noexcept;

/// The dtype of a name as safetensors spells it (upper case, exact); nothing for any other name.
SLUICE_API std::optional<Dtype> parse_dtype(std::string_view name) noexcept;

/// Bits of one element: 4, 6, 8, 16, 32 or 64. Packed dtypes fill whole bytes only as whole tensors.
SLUICE_API unsigned bits(Dtype dtype) noexcept;

/// The alignment in bytes that code reading elements of this dtype expects: the element's size, 4 for C64, 1 for packed
/// ones.
SLUICE_API unsigned natural_alignment(Dtype dtype) noexcept;

/// Whether sluice casts from and to this dtype: F64 F32 F16 BF16 F8_E4M3 F8_E5M2.
SLUICE_API bool is_castable(Dtype dtype) noexcept;

}  // namespace sluice
