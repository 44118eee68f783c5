// Goal: every instruction gives what the PTX ISA says.
// Method: a table of instructions beside C++ expressions that are written another way: 128-bit arithmetic, and the
// ISA's loops over bits. Each row runs on all combinations of edge values, then on random ones, through parser and
// launch. Under a sanitizer, half of those with three operands.
#include "tests/sim/ptx/semantics.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "tests/loader/support/sanitized.hpp"
#include "tests/sim/ptx/isa_reference.hpp"
#include "tests/sim/ptx/test_kernel.hpp"

namespace sluice::sim::ptx {
namespace {

using Operands = std::array<std::uint64_t, 4>;

// Registers in `instruction` are named by width and operand: %wa is the lower half of a in 32 bits, %ha 16, %la 64, %pa
// its lowest bit as predicate; the result is in %wd, %hd, %ld or %pd.
struct Row {
  std::string instruction;
  std::function<u64(u64 a, u64 b, u64 c, u64 d)> expected;
};

#define ROW(instruction, ...)                                                                                         \
  {                                                                                                                   \
    instruction, []([[maybe_unused]] u64 a, [[maybe_unused]] u64 b, [[maybe_unused]] u64 c, [[maybe_unused]] u64 d) { \
      return static_cast<u64>(__VA_ARGS__);                                                                           \
    }                                                                                                                 \
  }

// --- rows for each width ---------------------------------------------------------------------------------------------

template <typename U, typename S>
void add_arithmetic(std::vector<Row>& rows, char letter) {
  const auto row = [&](std::string_view instruction, auto expected) {
    std::string text;
    for (const char c : instruction) {
      c == '?' ? text.push_back(letter) : c == '#' ? void(text += std::to_string(8 * sizeof(U))) : text.push_back(c);
    }
    rows.push_back({text, [expected](u64 a, u64 b, u64 c, u64) {
                      return static_cast<u64>(expected(static_cast<U>(a), static_cast<U>(b), static_cast<U>(c)));
                    }});
  };
  using Big = Uint128;
  const auto sign = [](U x) { return Int128{static_cast<S>(x)}; };
  constexpr unsigned bits = 8 * sizeof(U);
  for (const char* type : {"u", "s"}) {
    const std::string t = type;
    row("add." + t + "# %?d, %?a, %?b", [](U a, U b, U) { return Big{a} + b; });
    row("sub." + t + "# %?d, %?a, %?b", [](U a, U b, U) { return Big{a} - b; });
    row("mul.lo." + t + "# %?d, %?a, %?b", [](U a, U b, U) { return Big{a} * b; });
    row("mad.lo." + t + "# %?d, %?a, %?b, %?c", [](U a, U b, U c) { return Big{a} * b + c; });
    row("setp.eq." + t + "# %pd, %?a, %?b", [](U a, U b, U) { return (a ^ b) == 0; });
    row("setp.ne." + t + "# %pd, %?a, %?b", [](U a, U b, U) { return (a ^ b) != 0; });
    row("slct." + t + "#.s32 %?d, %?a, %?b, %wc", [](U a, U b, U) { return a ^ b; });
    rows.back().expected = [](u64 a, u64 b, u64 c, u64) { return bit(c, 31) ? b : a; };
    row("shl.b# %?d, %?a, %wb", [](U, U, U) { return 0; });
    rows.back().expected = [](u64 a, u64 b, u64, u64) { return shift_left(a, b, bits); };
  }
  for (const char* type : {"u", "b"}) {
    row(std::string("shr.") + type + "# %?d, %?a, %wb", [](U, U, U) { return 0; });
    rows.back().expected = [](u64 a, u64 b, u64, u64) { return shift_right(static_cast<U>(a), b); };
  }
  row("shr.s# %?d, %?a, %wb", [](U, U, U) { return 0; });
  rows.back().expected = [](u64 a, u64 b, u64, u64) { return shift_right(static_cast<S>(a), b); };
  row("mul.hi.u# %?d, %?a, %?b", [](U a, U b, U) { return (Big{a} * b) >> bits; });
  row("mul.hi.s# %?d, %?a, %?b", [=](U a, U b, U) { return (sign(a) * sign(b)) >> bits; });
  row("mad.hi.u# %?d, %?a, %?b, %?c", [](U a, U b, U c) { return ((Big{a} * b) >> bits) + c; });
  row("mad.hi.s# %?d, %?a, %?b, %?c", [=](U a, U b, U c) { return ((sign(a) * sign(b)) >> bits) + sign(c); });
  row("neg.s# %?d, %?a", [](U a, U, U) { return ~a + U{1}; });
  row("abs.s# %?d, %?a", [=](U a, U, U) { return sign(a) < 0 ? -sign(a) : sign(a); });
  row("min.u# %?d, %?a, %?b", [](U a, U b, U) { return Big{a} < b ? a : b; });
  row("max.u# %?d, %?a, %?b", [](U a, U b, U) { return Big{a} < b ? b : a; });
  row("min.s# %?d, %?a, %?b", [=](U a, U b, U) { return sign(a) < sign(b) ? a : b; });
  row("max.s# %?d, %?a, %?b", [=](U a, U b, U) { return sign(a) < sign(b) ? b : a; });
  row("cnot.b# %?d, %?a", [](U a, U, U) { return !a; });
  row("and.b# %?d, %?a, %?b", [](U a, U b, U) { return ~(~a | ~b); });
  row("or.b# %?d, %?a, %?b", [](U a, U b, U) { return ~(~a & ~b); });
  row("xor.b# %?d, %?a, %?b", [](U a, U b, U) { return (a | b) & ~(a & b); });
  row("not.b# %?d, %?a", [](U a, U, U) { return -1 - Int128{a}; });
  row("mov.b# %?d, %?a", [](U a, U, U) { return a; });
  row("setp.eq.b# %pd, %?a, %?b", [](U a, U b, U) { return (a ^ b) == 0; });
  row("setp.lt.u# %pd, %?a, %?b", [](U a, U b, U) { return Int128{a} - b < 0; });
  row("setp.le.u# %pd, %?a, %?b", [](U a, U b, U) { return Int128{a} - b <= 0; });
  row("setp.gt.u# %pd, %?a, %?b", [](U a, U b, U) { return Int128{a} - b > 0; });
  row("setp.ge.u# %pd, %?a, %?b", [](U a, U b, U) { return Int128{a} - b >= 0; });
  row("setp.lo.u# %pd, %?a, %?b", [](U a, U b, U) { return Int128{a} - b < 0; });
  row("setp.ls.u# %pd, %?a, %?b", [](U a, U b, U) { return Int128{a} - b <= 0; });
  row("setp.hi.u# %pd, %?a, %?b", [](U a, U b, U) { return Int128{a} - b > 0; });
  row("setp.hs.u# %pd, %?a, %?b", [](U a, U b, U) { return Int128{a} - b >= 0; });
  row("setp.lt.s# %pd, %?a, %?b", [=](U a, U b, U) { return sign(a) - sign(b) < 0; });
  row("setp.le.s# %pd, %?a, %?b", [=](U a, U b, U) { return sign(a) - sign(b) <= 0; });
  row("setp.gt.s# %pd, %?a, %?b", [=](U a, U b, U) { return sign(a) - sign(b) > 0; });
  row("setp.ge.s# %pd, %?a, %?b", [=](U a, U b, U) { return sign(a) - sign(b) >= 0; });
  row("selp.b# %?d, %?a, %?b, %pc", [](U a, U b, U c) { return c % 2 == 1 ? a : b; });
  // Division by zero is a fault, so the divisor is moved away from it.
  const std::string divisor = "max.u# %?b, %?b, 1; ";
  row(divisor + "div.u# %?d, %?a, %?b", [](U a, U b, U) { return divide<U>(a, b == 0 ? 1 : b); });
  row(divisor + "rem.u# %?d, %?a, %?b", [](U a, U b, U) { return remainder<U>(a, b == 0 ? 1 : b); });
  row(divisor + "div.s# %?d, %?a, %?b", [](U a, U b, U) { return divide<S>(a, b == 0 ? 1 : b); });
  row(divisor + "rem.s# %?d, %?a, %?b", [](U a, U b, U) { return remainder<S>(a, b == 0 ? 1 : b); });
}

void add_bits(std::vector<Row>& rows) {
  const Row fixed[] = {
      ROW("mul.wide.u16 %wd, %ha, %hb", u64{u16(a)} * u16(b)),
      ROW("mul.wide.s16 %wd, %ha, %hb", s64{s16(a)} * s16(b)),
      ROW("mul.wide.u32 %ld, %wa, %wb", u64{u32(a)} * u32(b)),
      ROW("mul.wide.s32 %ld, %wa, %wb", s64{s32(a)} * s32(b)),
      ROW("mad.wide.u16 %wd, %ha, %hb, %wc", u64{u16(a)} * u16(b) + c),
      ROW("mad.wide.s16 %wd, %ha, %hb, %wc", u64(s64{s16(a)} * s16(b)) + c),
      ROW("mad.wide.u32 %ld, %wa, %wb, %lc", u64{u32(a)} * u32(b) + c),
      ROW("mad.wide.s32 %ld, %wa, %wb, %lc", u64(s64{s32(a)} * s32(b)) + c),
      ROW("shf.l.clamp.b32 %wd, %wa, %wb, %wc", u32(c) >= 32  ? u32(a)
                                                : u32(c) == 0 ? u32(b)
                                                              : u32(b) << u32(c) | u32(a) >> (32 - u32(c))),
      ROW("shf.r.clamp.b32 %wd, %wa, %wb, %wc", u32(c) >= 32  ? u32(b)
                                                : u32(c) == 0 ? u32(a)
                                                              : u32(b) << (32 - u32(c)) | u32(a) >> u32(c)),
      ROW("shf.l.wrap.b32 %wd, %wa, %wb, %wc", c % 32 == 0 ? u32(b) : u32(b) << c % 32 | u32(a) >> (32 - c % 32)),
      ROW("shf.r.wrap.b32 %wd, %wa, %wb, %wc", c % 32 == 0 ? u32(a) : u32(b) << (32 - c % 32) | u32(a) >> c % 32),
      ROW("prmt.b32 %wd, %wa, %wb, %wc",
          reference_prmt(a, b,
                         {unsigned(c >> 12) & 15, unsigned(c >> 8) & 15, unsigned(c >> 4) & 15, unsigned(c) & 15})),
      ROW("prmt.b32.f4e %wd, %wa, %wb, %wc",
          reference_prmt(a, b, {unsigned(c & 3) + 3, unsigned(c & 3) + 2, unsigned(c & 3) + 1, unsigned(c & 3)})),
      ROW("prmt.b32.b4e %wd, %wa, %wb, %wc", reference_prmt(a, b,
                                                            {(unsigned(c & 3) + 5) & 7, (unsigned(c & 3) + 6) & 7,
                                                             (unsigned(c & 3) + 7) & 7, unsigned(c & 3)})),
      ROW("prmt.b32.rc8 %wd, %wa, %wb, %wc", (a >> (c & 3) * 8 & 0xff) * 0x01010101),
      ROW("prmt.b32.ecl %wd, %wa, %wb, %wc",
          reference_prmt(
              a, b, {3, unsigned(c & 3) > 2 ? 3u : 2u, unsigned(c & 3) > 1 ? unsigned(c & 3) : 1u, unsigned(c & 3)})),
      ROW("prmt.b32.ecr %wd, %wa, %wb, %wc",
          reference_prmt(
              a, b, {unsigned(c & 3), unsigned(c & 3) < 2 ? unsigned(c & 3) : 2u, unsigned(c & 3) < 1 ? 0u : 1u, 0})),
      ROW("prmt.b32.rc16 %wd, %wa, %wb, %wc", (a >> (c & 1) * 16 & 0xffff) * 0x00010001),
      ROW("lop3.b32 %wd, %wa, %wb, %wc, 0xF0", a),
      ROW("lop3.b32 %wd, %wa, %wb, %wc, 0xCC", b),
      ROW("lop3.b32 %wd, %wa, %wb, %wc, 0xAA", c),
      ROW("lop3.b32 %wd, %wa, %wb, %wc, 0x80", a & b & c),
      ROW("lop3.b32 %wd, %wa, %wb, %wc, 0xFE", a | b | c),
      ROW("lop3.b32 %wd, %wa, %wb, %wc, 0x6A", (a & b) ^ c),
      ROW("lop3.b32 %wd, %wa, %wb, %wc, 0xE8", (a & b) | (b & c) | (a & c)),
      ROW("lop3.b32 %wd, %wa, %wb, %wc, 0x35", reference_lop3(a, b, c, 0x35)),
      ROW("bfe.u32 %wd, %wa, %wb, %wc", reference_bfe(a, b, c, 32, false)),
      ROW("bfe.s32 %wd, %wa, %wb, %wc", reference_bfe(a, b, c, 32, true)),
      ROW("bfe.u64 %ld, %la, %wb, %wc", reference_bfe(a, b, c, 64, false)),
      ROW("bfe.s64 %ld, %la, %wb, %wc", reference_bfe(a, b, c, 64, true)),
      ROW("bfi.b32 %wd, %wa, %wb, %wc, %we", reference_bfi(a, b, c, d, 32)),
      ROW("bfi.b64 %ld, %la, %lb, %wc, %we", reference_bfi(a, b, c, d, 64)),
      ROW("bfind.u32 %wd, %wa", reference_bfind(u32(a), 32, false, false)),
      ROW("bfind.s32 %wd, %wa", reference_bfind(u32(a), 32, true, false)),
      ROW("bfind.u64 %wd, %la", reference_bfind(a, 64, false, false)),
      ROW("bfind.s64 %wd, %la", reference_bfind(a, 64, true, false)),
      ROW("bfind.shiftamt.u32 %wd, %wa", reference_bfind(u32(a), 32, false, true)),
      ROW("bfind.shiftamt.s32 %wd, %wa", reference_bfind(u32(a), 32, true, true)),
      ROW("bfind.shiftamt.u64 %wd, %la", reference_bfind(a, 64, false, true)),
      ROW("bfind.shiftamt.s64 %wd, %la", reference_bfind(a, 64, true, true)),
      ROW("clz.b32 %wd, %wa", 31 - s32(reference_bfind(u32(a), 32, false, false))),
      ROW("clz.b64 %wd, %la", 63 - s32(reference_bfind(a, 64, false, false))),
      ROW("popc.b32 %wd, %wa", count_bits(u32(a))),
      ROW("popc.b64 %wd, %la", count_bits(a)),
      ROW("brev.b32 %wd, %wa", reference_brev(a, 32)),
      ROW("brev.b64 %ld, %la", reference_brev(a, 64)),
      ROW("add.cc.u32 %wd, %wa, %wb; addc.u32 %wd, %wc, %we", c + d + ((u64{u32(a)} + u32(b)) >> 32)),
      ROW("add.cc.u64 %ld, %la, %lb; addc.u64 %ld, %lc, %le", c + d + u64((Uint128{a} + b) >> 64)),
      ROW("sub.cc.u32 %wd, %wa, %wb; subc.u32 %wd, %wc, %we", c - d - (u32(a) < u32(b))),
      ROW("sub.cc.u64 %ld, %la, %lb; subc.u64 %ld, %lc, %le", c - d - (a < b)),
      ROW("add.cc.s32 %wd, %wa, %wb; addc.cc.s32 %wd, %wc, %we; addc.s32 %wd, %wa, 0",
          a + ((u64{u32(c)} + u32(d) + ((u64{u32(a)} + u32(b)) >> 32)) >> 32)),
      ROW("sub.cc.b32 %wd, %wa, %wb; subc.cc.b32 %wd, %wc, %we; subc.b32 %wd, %wa, 0",
          a - (s64{u32(c)} - s64{u32(d)} - (u32(a) < u32(b)) < 0)),
  };
  rows.insert(rows.end(), std::begin(fixed), std::end(fixed));
}

void add_values(std::vector<Row>& rows) {
  const Row fixed[] = {
      ROW("mov.b32 %wd, {%ha, %hb}", u32{u16(a)} | u32{u16(b)} << 16),
      ROW("mov.b64 %ld, {%wa, %wb}", u64{u32(a)} | u64{u32(b)} << 32),
      ROW("mov.b64 %ld, {%ha, %hb, %hc, %he}", u64{u16(a)} | u64{u16(b)} << 16 | u64{u16(c)} << 32 | u64{u16(d)} << 48),
      ROW("mov.b64 {%wd, %wc}, %la", u32(a)),
      ROW("mov.b64 {_, %wd}, %la", a >> 32),
      ROW("mov.b32 {%ha, %hd}, %wb", b >> 16),
      ROW("mov.b64 {%ha, _, %hd, %hb}, %lc", c >> 32),
      ROW("mov.u16 %hd, -2", -2),
      ROW("mov.b32 %wd, 0f3F800000", 0x3f800000),
      ROW("mov.b64 %ld, 0d3FF0000000000000", 0x3ff0000000000000),
      ROW("and.pred %pd, %pa, %pb", a & b),
      ROW("or.pred %pd, %pa, %pb", a | b),
      ROW("xor.pred %pd, %pa, %pb", a ^ b),
      ROW("not.pred %pd, %pa", ~a),
      ROW("mov.pred %pd, %pa", a),
      ROW("mov.pred %pd, -1", 1),
      ROW("setp.lt.and.u32 %pd, %wa, %wb, %pc", u32(a) < u32(b) && bit(c, 0)),
      ROW("setp.lt.or.u32 %pd, %wa, %wb, %pc", u32(a) < u32(b) || bit(c, 0)),
      ROW("setp.lt.xor.u32 %pd, %wa, %wb, %pc", (u32(a) < u32(b)) != bit(c, 0)),
      ROW("setp.lt.and.u32 %pd, %wa, %wb, !%pc", u32(a) < u32(b) && !bit(c, 0)),
      ROW("setp.lt.u32 %pe|%pd, %wa, %wb", u32(a) >= u32(b)),
      ROW("setp.lt.u32 %pd|%pe, %wa, %wb", u32(a) < u32(b)),
      ROW("setp.lt.u32 _|%pd, %wa, %wb", u32(a) >= u32(b)),
      ROW("setp.lt.and.u32 %pc|%pd, %wa, %wb, %pc", u32(a) >= u32(b) && bit(c, 0)),
      ROW("setp.lt.or.u32 %pd|%pc, %wa, %wb, !%pc", u32(a) < u32(b) || !bit(c, 0)),
      ROW("cvt.sat.u8.s32 %wd, %wa", clamped<std::uint8_t>(s32(a))),
      ROW("cvt.sat.s8.s32 %hd, %wa", clamped<s8>(s32(a))),
      ROW("cvt.sat.s8.u32 %wd, %wa", clamped<s8>(u32(a))),
      ROW("cvt.sat.u16.s64 %hd, %la", clamped<u16>(s64(a))),
      ROW("cvt.sat.s32.s64 %wd, %la", clamped<s32>(s64(a))),
      ROW("cvt.sat.u64.s64 %ld, %la", clamped<u64>(s64(a))),
      ROW("cvt.sat.s64.u64 %ld, %la", clamped<s64>(Uint128{a})),
      ROW("cvt.sat.u32.s16 %wd, %ha", clamped<u32>(s16(a))),
      ROW("cvta.global.u64 %ld, %la", a),
      ROW("cvta.to.global.u64 %ld, %la", a),
      // The compilers' spellings of one thing.
      ROW("cvt.u64.u8 %ld, %ha", a & 0xff),
      ROW("cvt.u16.u8 %hd, %wa", a & 0xff),
      ROW("and.b32 %wd, %wa, -16", a - (a & 15)),
      ROW("add.s32 %wd, %wa, 0xFFFFFFFF", a - 1),
      ROW("{ .reg .b32 %wa; mov.b64 {%wa, %wd}, %lb; }", b >> 32),
  };
  rows.insert(rows.end(), std::begin(fixed), std::end(fixed));
  // All conversions between integers, also into and out of registers that are wider.
  const std::pair<char, unsigned> registers[] = {{'h', 16}, {'w', 32}, {'l', 64}};
  for (const char to : {'u', 's'}) {
    for (const char from : {'u', 's'}) {
      for (unsigned to_bits = 8; to_bits <= 64; to_bits *= 2) {
        for (unsigned from_bits = 8; from_bits <= 64; from_bits *= 2) {
          for (const auto& [d, d_bits] : registers) {
            for (const auto& [a_name, a_bits] : registers) {
              if (d_bits < to_bits || a_bits < from_bits) {
                continue;
              }
              const auto extend = [](u64 value, unsigned bits, bool sign) {
                const unsigned up = 64 - bits;
                return sign ? static_cast<u64>(static_cast<s64>(value << up) >> up) : value << up >> up;
              };
              rows.push_back({fmt::format("cvt.{}{}.{}{} %{}d, %{}a", to, to_bits, from, from_bits, d, a_name),
                              [=, to_b = to_bits, from_b = from_bits](u64 a, u64, u64, u64) {
                                return extend(extend(a, from_b, from == 's'), to_b, to == 's');
                              }});
            }
          }
        }
      }
    }
  }
}

const std::vector<Row>& rows() {
  static const std::vector<Row> all = [] {
    std::vector<Row> made;
    add_arithmetic<u16, s16>(made, 'h');
    add_arithmetic<u32, s32>(made, 'w');
    add_arithmetic<u64, s64>(made, 'l');
    add_bits(made);
    add_values(made);
    return made;
  }();
  return all;
}

// --- running a row ---------------------------------------------------------------------------------------------------

/// Whether the row names operand `operand`: in registers of which width, or 0.
char named(const Row& row, char operand) {
  for (const char width : {'h', 'w', 'l', 'p'}) {
    if (row.instruction.find(std::string("%") + width + operand) != std::string::npos) {
      return width;
    }
  }
  return 0;
}

/// Loads a, b, c, e of the thread's case into registers of all widths, and stores the result.
std::string text_of(const Row& row) {
  std::string text =
      ".version 6.3\n.target sm_75\n.address_size 64\n.entry k(.param .u64 in, .param .u64 out) {\n"
      ".reg .pred %pa, %pb, %pc, %pd, %pe; .reg .b16 %ha, %hb, %hc, %hd, %he;\n"
      ".reg .b32 %wa, %wb, %wc, %wd, %we, %i; .reg .b64 %la, %lb, %lc, %ld, %le, %in, %out, %t;\n"
      "ld.param.u64 %in, [in]; ld.param.u64 %out, [out];\n"
      "mad.lo.u32 %i, %ctaid.x, %ntid.x, %tid.x;\n"
      "mad.wide.u32 %in, %i, 32, %in; mad.wide.u32 %out, %i, 8, %out;\n";
  for (std::size_t k = 0; k < 4; ++k) {
    text += fmt::format(
        "ld.u64 %l{0}, [%in+{1}]; ld.u32 %w{0}, [%in+{1}]; ld.u16 %h{0}, [%in+{1}];\n"
        "and.b64 %t, %l{0}, 1; setp.eq.u64 %p{0}, %t, 1;\n",
        "abce"[k], 8 * k);
  }
  text += row.instruction + (row.instruction.starts_with('{') ? "\n" : ";\n");
  switch (named(row, 'd')) {
    case 'p':
      text += "selp.b64 %ld, 1, 0, %pd;\n";
      break;
    case 'h':
      text += "cvt.u64.u16 %ld, %hd;\n";
      break;
    case 'w':
      text += "cvt.u64.u32 %ld, %wd;\n";
      break;
  }
  return text + "st.u64 [%out], %ld;\nret;\n}\n";
}

u64 result_mask(const Row& row) {
  switch (named(row, 'd')) {
    case 'p':
      return 1;
    case 'h':
      return 0xffff;
    case 'w':
      return 0xffffffff;
    default:
      return ~u64{0};
  }
}

void expect_row(const Row& row, const std::vector<Operands>& cases) {
  const Module module = parse(text_of(row));
  TestMemory memory;
  const Region& in = memory.add(0x1000'0000, cases.size() * sizeof(Operands));
  const Region& out = memory.add(0x2000'0000, cases.size() * sizeof(u64));
  std::memcpy(in.host, cases.data(), in.bytes);
  const std::array<u64, 2> parameters = {in.address, out.address};
  Launch launch;
  launch.grid = {static_cast<u32>(cases.size()), 1, 1};
  launch.parameters = std::as_bytes(std::span(parameters));
  run(*module.kernel("k"), launch, memory);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto [a, b, c, d] = cases[i];
    const u64 expected = row.expected(a, b, c, d) & result_mask(row);
    ASSERT_EQ(value_at<u64>(out, i * 8), expected)
        << row.instruction << fmt::format(" of {:#x}, {:#x}, {:#x}, {:#x}; expected {:#x}", a, b, c, d, expected);
  }
}

std::vector<Operands> edge_cases(std::size_t operands) {
  static constexpr u64 edges[] = {0,
                                  1,
                                  2,
                                  3,
                                  7,
                                  8,
                                  15,
                                  16,
                                  17,
                                  31,
                                  32,
                                  33,
                                  63,
                                  64,
                                  65,
                                  0x7f,
                                  0x80,
                                  0xff,
                                  0x100,
                                  0x7fff,
                                  0x8000,
                                  0xffff,
                                  0x10000,
                                  0x7fffffff,
                                  0x80000000,
                                  0xffffffff,
                                  0x100000000,
                                  0x3210'7654'fedc'ba98,
                                  0x7fffffffffffffff,
                                  0x8000000000000000,
                                  ~u64{0},
                                  ~u64{1}};
  static constexpr u64 few[] = {0, 1, 5, 31, 32, 0x80, 0x7654, 0xfedc, 0x80000000, ~u64{0}};
  std::vector<Operands> cases;
  for (const u64 a : edges) {
    for (const u64 b : edges) {
      if (operands < 3) {
        cases.push_back({a, b, 0, 0});
        continue;
      }
      for (const u64 c : few) {
        cases.push_back({a, b, c, 7});
        if (!sanitized) {
          cases.push_back({a, b, c, 64});
        }
      }
    }
  }
  return cases;
}

TEST(Semantics, GivesWhatTheIsaSaysAtTheEdges) {
  const std::vector<Operands> two = edge_cases(2);
  const std::vector<Operands> more = edge_cases(3);
  for (const Row& row : rows()) {
    ASSERT_NO_FATAL_FAILURE(expect_row(row, named(row, 'c') != 0 ? more : two));
  }
}

RC_GTEST_PROP(Semantics, GivesWhatTheIsaSaysForRandomOperands, ()) {
  const auto seed = *rc::gen::arbitrary<u64>();
  std::mt19937_64 random(seed);
  std::vector<Operands> cases(64);
  for (Operands& operands : cases) {
    for (u64& operand : operands) {
      operand = random() >> random() % 64;
    }
  }
  expect_row(*rc::gen::elementOf(rows()), cases);
  RC_ASSERT(!testing::Test::HasFatalFailure());
}

}  // namespace
}  // namespace sluice::sim::ptx
