// Semantics: what each instruction makes of its operands, as plain functions: the first parameter is operand a, and so
// on; the types are those of the registers. After the PTX ISA, section "Instruction Set", whose names these are; each
// function that does more than C++ would says which of its sentences it follows. T is unsigned where the sign does not
// matter, so that overflow wraps.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

#include "tests/sim/ptx/thread.hpp"

namespace sluice::sim::ptx {

template <typename T>
inline constexpr std::uint32_t width = 8 * sizeof(T);

/// The type of .wide results: twice as wide, the same sign.
template <typename T>
using Wide = std::conditional_t<std::is_signed_v<T>, std::conditional_t<sizeof(T) == 2, std::int32_t, std::int64_t>,
                                std::conditional_t<sizeof(T) == 2, std::uint32_t, std::uint64_t>>;

__extension__ using Int128 = __int128;
__extension__ using Uint128 = unsigned __int128;

// --- arithmetic ------------------------------------------------------------------------------------------------------

template <typename T>
T add(T a, T b) {
  return static_cast<T>(std::uint64_t{a} + b);
}

template <typename T>
T sub(T a, T b) {
  return static_cast<T>(std::uint64_t{a} - b);
}

/// "mul.lo: d = t<n-1..0>", of the product t of 2n bits.
template <typename T>
T mul_lo(T a, T b) {
  return static_cast<T>(std::uint64_t{a} * b);
}

/// "mul.hi: d = t<2n-1..n>".
template <typename T>
T mul_hi(T a, T b) {
  using Product = std::conditional_t<std::is_signed_v<T>, Int128, Uint128>;
  return static_cast<T>((Product{a} * b) >> width<T>);
}

template <typename T>
Wide<T> mul_wide(T a, T b) {
  return static_cast<Wide<T>>(Wide<T>{a} * Wide<T>{b});
}

template <typename T>
T mad_lo(T a, T b, T c) {
  return static_cast<T>(std::uint64_t{a} * b + c);
}

template <typename T>
T mad_hi(T a, T b, T c) {
  return static_cast<T>(static_cast<std::uint64_t>(mul_hi(a, b)) + static_cast<std::uint64_t>(c));
}

template <typename T>
Wide<T> mad_wide(T a, T b, Wide<T> c) {
  return static_cast<Wide<T>>(static_cast<std::uint64_t>(mul_wide(a, b)) + static_cast<std::uint64_t>(c));
}

template <typename T>
T neg(T a) {
  return static_cast<T>(0 - static_cast<std::uint64_t>(a));
}

template <typename T>
T abs(T a) {
  return a < 0 ? neg(a) : a;
}

/// "Division by zero yields an unspecified, machine-specific value": nothing that a kernel may rely on.
template <typename T>
T div(T a, T b) {
  if (b == 0) {
    throw Trouble{"division by zero", {}};
  }
  if (std::is_signed_v<T> && b == static_cast<T>(-1)) {
    return neg(a);  // where C++ lets the smallest number overflow
  }
  return static_cast<T>(a / b);
}

template <typename T>
T rem(T a, T b) {
  return sub<std::make_unsigned_t<T>>(a, mul_lo<std::make_unsigned_t<T>>(div(a, b), b));
}

template <typename T>
T min(T a, T b) {
  return std::min(a, b);
}

template <typename T>
T max(T a, T b) {
  return std::max(a, b);
}

// --- bits ------------------------------------------------------------------------------------------------------------

template <typename T>
T bit_and(T a, T b) {
  return static_cast<T>(a & b);
}

template <typename T>
T bit_or(T a, T b) {
  return static_cast<T>(a | b);
}

template <typename T>
T bit_xor(T a, T b) {
  return static_cast<T>(a ^ b);
}

template <typename T>
T bit_not(T a) {
  if constexpr (std::is_same_v<T, bool>) {
    return !a;
  } else {
    return static_cast<T>(~a);
  }
}

template <typename T>
T cnot(T a) {
  return a == 0 ? 1 : 0;
}

/// "Shift amounts greater than the register width N are clamped to N."
template <typename T>
T shl(T a, std::uint32_t b) {
  return b < width<T> ? static_cast<T>(std::uint64_t{a} << b) : T{0};
}

/// The same; "signed shifts fill with the sign bit, unsigned and untyped shifts fill with 0".
template <typename T>
T shr(T a, std::uint32_t b) {
  if (b < width<T>) {
    return static_cast<T>(a >> b);
  }
  return a < 0 ? static_cast<T>(-1) : T{0};
}

/// "Shift the 64-bit value formed by concatenating operands a and b": b above a. ".clamp: n = min(c, 32)".
template <typename T>
T shf_l_clamp(T a, T b, T c) {
  return static_cast<T>((((std::uint64_t{b} << 32) | a) << std::min<T>(c, 32)) >> 32);
}

template <typename T>
T shf_r_clamp(T a, T b, T c) {
  return static_cast<T>(((std::uint64_t{b} << 32) | a) >> std::min<T>(c, 32));
}

/// ".wrap: n = c & 0x1f".
template <typename T>
T shf_l_wrap(T a, T b, T c) {
  return shf_l_clamp<T>(a, b, c & 31);
}

template <typename T>
T shf_r_wrap(T a, T b, T c) {
  return shf_r_clamp<T>(a, b, c & 31);
}

/// Bytes 0 to 3 are those of a, 4 to 7 those of b; each nibble of c takes one. "The msb defines if the byte value
/// should be copied, or if the sign should be replicated over all 8 bits."
template <typename T>
T prmt(T a, T b, T c) {
  const std::uint64_t bytes = (std::uint64_t{b} << 32) | a;
  T d = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned nibble = (c >> (4 * i)) & 15;
    const auto byte = static_cast<std::uint8_t>(bytes >> (8 * (nibble & 7)));
    const auto sign = static_cast<std::uint8_t>(byte & 0x80 ? 0xff : 0);
    d |= T{nibble & 8 ? sign : byte} << (8 * i);
  }
  return d;
}

/// The modes of prmt are selectors that c<1..0> chooses; in the ISA's table, by row.
template <typename T, T row0, T row1, T row2, T row3>
T prmt_by_table(T a, T b, T c) {
  constexpr T rows[] = {row0, row1, row2, row3};
  return prmt(a, b, rows[c & 3]);
}

/// "lop3: each bit of the look-up table is the result for one row of the truth table of a, b, c": 0xF0, 0xCC, 0xAA.
template <typename T>
T lop3(T a, T b, T c, T table) {
  T d = 0;
  for (unsigned row = 0; row < 8; ++row) {
    if ((table >> row) & 1) {
      d |= (row & 4 ? a : ~a) & (row & 2 ? b : ~b) & (row & 1 ? c : ~c);
    }
  }
  return d;
}

/// The lowest bits as a mask; all of them if `bits` is the width or more.
template <typename T>
T low_mask(std::uint32_t bits) {
  return bits < width<T> ? static_cast<T>((T{1} << bits) - 1) : static_cast<T>(-1);
}

/// "pos and len are restricted to 0..255"; what lies beyond the msb is "the sign bit of the extracted field", which is
/// a<min(pos+len-1,msb)> for signed types.
template <typename T>
T bfe(T a, std::uint32_t b, std::uint32_t c) {
  using Bits = std::make_unsigned_t<T>;
  const std::uint32_t position = b & 0xff;
  const std::uint32_t length = c & 0xff;
  const bool sign = std::is_signed_v<T> && length != 0 && ((a >> std::min(position + length - 1, width<T> - 1)) & 1);
  const Bits mask = low_mask<Bits>(std::min(length, width<T> - std::min(position, width<T>)));
  const Bits field = shr(static_cast<Bits>(a), position) & mask;
  return static_cast<T>(sign ? field | static_cast<Bits>(~mask) : field);
}

/// "If the bit field length is zero, or if the start position is beyond the msb of the input, the result is b."
template <typename T>
T bfi(T a, T b, std::uint32_t c, std::uint32_t d) {
  const T mask = shl(low_mask<T>(d & 0xff), c & 0xff);
  return (b & ~mask) | (shl(a, c & 0xff) & mask);
}

/// "For unsigned integers, the bit position of the most significant 1. For signed integers, the most significant 0 for
/// negative inputs and the most significant 1 for non-negative inputs. If no such bit is found, 0xffffffff."
template <typename T>
std::uint32_t bfind(T a) {
  using Bits = std::make_unsigned_t<T>;
  return width<T> - 1u - static_cast<std::uint32_t>(std::countl_zero(static_cast<Bits>(a < 0 ? ~a : a)));
}

/// ".shiftamt: the amount of the left shift that would move the found bit into the most significant bit position."
template <typename T>
std::uint32_t bfind_shift(T a) {
  const std::uint32_t position = bfind(a);
  return position == 0xffffffffu ? position : width<T> - 1u - position;
}

template <typename T>
std::uint32_t clz(T a) {
  return static_cast<std::uint32_t>(std::countl_zero(a));
}

template <typename T>
std::uint32_t popc(T a) {
  return static_cast<std::uint32_t>(std::popcount(a));
}

template <typename T>
T brev(T a) {
  T d = 0;
  for (unsigned i = 0; i < width<T>; ++i) {
    d |= ((a >> i) & 1) << (width<T> - 1 - i);
  }
  return d;
}

// --- choice and values -----------------------------------------------------------------------------------------------

template <typename T>
bool eq(T a, T b) {
  return a == b;
}

template <typename T>
bool ne(T a, T b) {
  return a != b;
}

template <typename T>
bool lt(T a, T b) {
  return a < b;
}

template <typename T>
bool le(T a, T b) {
  return a <= b;
}

template <typename T>
bool gt(T a, T b) {
  return a > b;
}

template <typename T>
bool ge(T a, T b) {
  return a >= b;
}

/// "slct: d = (c >= 0) ? a : b".
template <typename T>
T slct(T a, T b, std::int32_t c) {
  return c >= 0 ? a : b;
}

template <typename T>
T identity(T a) {
  return a;
}

/// "For integer destination types, .sat limits the result to MININT..MAXINT for the size of the operation." Without,
/// the lower bits are kept, and narrower sources are extended by their sign.
template <typename To, typename From, bool saturate>
To convert(From a) {
  if constexpr (saturate) {
    if (std::cmp_less(a, std::numeric_limits<To>::min())) {
      return std::numeric_limits<To>::min();
    }
    if (std::cmp_greater(a, std::numeric_limits<To>::max())) {
      return std::numeric_limits<To>::max();
    }
  }
  return static_cast<To>(a);
}

}  // namespace sluice::sim::ptx
