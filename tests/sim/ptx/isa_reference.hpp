// For tests: what the PTX ISA says of its more intricate instructions, written as it says it, bit by bit and loop by
// loop, or by 128-bit arithmetic: another way than semantics.hpp, which it is compared with.
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>

namespace sluice::sim::ptx {

using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using s8 = std::int8_t;
using s16 = std::int16_t;
using s32 = std::int32_t;
using s64 = std::int64_t;

__extension__ using Int128 = __int128;
__extension__ using Uint128 = unsigned __int128;

inline bool bit(u64 value, unsigned index) {
  return (value >> index) & 1;
}

inline u64 reference_bfe(u64 a, u64 b, u64 c, unsigned bits, bool is_signed) {
  const unsigned msb = bits - 1;
  const unsigned pos = b & 0xff;
  const unsigned len = c & 0xff;
  const bool sbit = is_signed && len != 0 && bit(a, pos + len - 1 < msb ? pos + len - 1 : msb);
  u64 d = 0;
  for (unsigned i = 0; i <= msb; ++i) {
    d |= u64{i < len && pos + i <= msb ? bit(a, pos + i) : sbit} << i;
  }
  return d;
}

inline u64 reference_bfi(u64 a, u64 b, u64 c, u64 d, unsigned bits) {
  u64 f = bits == 32 ? static_cast<u32>(b) : b;
  const unsigned pos = c & 0xff;
  for (unsigned i = 0; i < (d & 0xff) && pos + i < bits; ++i) {
    f = (f & ~(u64{1} << (pos + i))) | (u64{bit(a, i)} << (pos + i));
  }
  return f;
}

inline u64 reference_bfind(u64 a, unsigned bits, bool is_signed, bool shiftamt) {
  const unsigned msb = bits - 1;
  const bool flipped = is_signed && bit(a, msb);
  for (unsigned i = bits; i-- > 0;) {
    if (bit(a, i) != flipped) {
      return shiftamt ? msb - i : i;
    }
  }
  return 0xffffffff;
}

inline u64 reference_prmt(u64 a, u64 b, std::array<unsigned, 4> selectors) {  // msb first, as in the ISA's table
  u64 d = 0;
  for (const unsigned selector : selectors) {
    const u64 word = (selector & 4 ? b : a) & 0xffffffff;
    const u64 byte = (word >> ((selector & 3) * 8)) & 0xff;
    d = d * 256 + (selector & 8 ? (byte > 127 ? 255 : 0) : byte);
  }
  return d;
}

inline u64 reference_lop3(u64 a, u64 b, u64 c, unsigned table) {
  u64 d = 0;
  for (unsigned i = 0; i < 32; ++i) {
    d |= u64{bit(table, bit(a, i) * 4u + bit(b, i) * 2u + bit(c, i))} << i;
  }
  return d;
}

inline u64 reference_brev(u64 a, unsigned bits) {
  u64 d = 0;
  for (unsigned i = 0; i < bits; ++i) {
    d = d * 2 + bit(a, i);
  }
  return d;
}

inline u64 count_bits(u64 a) {
  u64 count = 0;
  for (; a != 0; a &= a - 1) {
    ++count;
  }
  return count;
}

inline u64 shift_left(u64 a, u64 b, unsigned bits) {
  for (u64 n = static_cast<u32>(b) < bits ? static_cast<u32>(b) : bits; n > 0; --n) {
    a *= 2;
  }
  return a;
}

inline s64 shift_right(Int128 a, u64 b) {  // a: extended by its sign; rounds down as arithmetic shifts do
  for (u64 n = static_cast<u32>(b) < 64 ? static_cast<u32>(b) : 64; n > 0; --n) {
    a = (a - (a < 0 && a % 2 != 0 ? 1 : 0)) / 2;
  }
  return static_cast<s64>(a);
}

template <typename T>
u64 divide(u64 a, u64 b) {
  const T x = static_cast<T>(a);
  const T y = static_cast<T>(b);
  return y == 0 ? 0 : static_cast<u64>(Int128{x} / y);
}

template <typename T>
u64 remainder(u64 a, u64 b) {
  const T x = static_cast<T>(a);
  const T y = static_cast<T>(b);
  return y == 0 ? 0 : static_cast<u64>(Int128{x} % y);
}

template <typename T>
Int128 clamped(Int128 value) {
  const Int128 range = Int128{1} << (8 * sizeof(T));
  const Int128 low = std::is_signed_v<T> ? -range / 2 : Int128{0};
  const Int128 high = low + range - 1;
  return value < low ? low : value > high ? high : value;
}

}  // namespace sluice::sim::ptx
