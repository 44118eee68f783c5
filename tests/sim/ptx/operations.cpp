#include "tests/sim/ptx/operations.hpp"

#include <fmt/format.h>

#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tests/sim/ptx/semantics.hpp"
#include "tests/sim/ptx/thread.hpp"

namespace sluice::sim::ptx {
namespace {

using Next = const Instruction*;

// --- from a function of semantics.hpp to code ------------------------------------------------------------------------

template <typename T>
constexpr std::uint8_t register_bits = std::is_same_v<T, bool> ? 1 : 8 * sizeof(T);

/// Reads a slot for each parameter and writes the result: registers are named by the function's own type.
template <auto function>
struct Apply;

template <typename D, typename... S, D (*function)(S...)>
struct Apply<function> {
  template <std::size_t... i>
  static void apply(Next self, Thread& thread, std::index_sequence<i...>) {
    thread.write<D>(self->slots[0], function(thread.read<S>(self->slots[i + 1])...));
  }

  static Next execute(Next self, Thread& thread) {
    apply(self, thread, std::index_sequence_for<S...>());
    return self + 1;
  }

  static constexpr Code code = {&execute, 1 + sizeof...(S), {register_bits<D>, register_bits<S>...}};
};

/// add.cc, addc, sub.cc, subc: the sum, or the difference, with the carry, or the borrow, of the one before.
template <typename T, bool subtract, bool carry_in, bool carry_out>
struct Extended {
  static Next execute(Next self, Thread& thread) {
    const Uint128 a = thread.read<T>(self->slots[1]);
    Uint128 b = thread.read<T>(self->slots[2]);
    if constexpr (carry_in) {
      b += thread.read<bool>(slot_carry) ? 1 : 0;
    }
    const Uint128 result = subtract ? a - b : a + b;
    thread.write<T>(self->slots[0], static_cast<T>(result));
    if constexpr (carry_out) {
      thread.write<bool>(slot_carry, (result >> width<T>) != 0);
    }
    return self + 1;
  }

  static constexpr Code code = {&execute, 3, {register_bits<T>, register_bits<T>, register_bits<T>}};
};

// --- the table -------------------------------------------------------------------------------------------------------

template <typename... T>
struct Types {};

using Predicate = Types<bool>;
using Word = Types<std::uint32_t>;
using Words = Types<std::uint32_t, std::uint64_t>;
using Bits = Types<std::uint16_t, std::uint32_t, std::uint64_t>;
using Logic = Types<bool, std::uint16_t, std::uint32_t, std::uint64_t>;
using Signed = Types<std::int16_t, std::int32_t, std::int64_t>;
using SignedWords = Types<std::uint32_t, std::int32_t, std::uint64_t, std::int64_t>;
using Halves = Types<std::uint16_t, std::int16_t, std::uint32_t, std::int32_t>;
using Numbers = Types<std::uint16_t, std::int16_t, std::uint32_t, std::int32_t, std::uint64_t, std::int64_t>;

struct Variant {
  bool is_signed;
  Type type;
  Code code;
};

struct Operation {
  std::string_view kinds;  // of types that PTX allows it
  std::vector<Variant> variants;
};

template <typename... T, typename Make>
Operation operation(std::string_view kinds, Types<T...>, Make make) {
  return {kinds, {Variant{std::is_signed_v<T>, {'b', register_bits<T>}, make.template operator()<T>()}...}};
}

// What an operation is spelled like; the kinds of its types; their C++ types T, signed ones only where the sign
// matters; and the function of T.
#define ROW(spelling, kinds, types, ...)                                                        \
  {                                                                                             \
    spelling, operation(kinds, types{}, []<typename T>() { return Apply<&__VA_ARGS__>::code; }) \
  }
#define EXTENDED_ROW(spelling, ...)                                                                  \
  {                                                                                                  \
    spelling, operation("bus", Words{}, []<typename T>() { return Extended<T, __VA_ARGS__>::code; }) \
  }

const std::unordered_map<std::string_view, Operation>& table() {
  static const std::unordered_map<std::string_view, Operation> rows = {
      ROW("add", "us", Bits, add<T>),
      ROW("sub", "us", Bits, sub<T>),
      EXTENDED_ROW("add.cc", false, false, true),
      EXTENDED_ROW("addc", false, true, false),
      EXTENDED_ROW("addc.cc", false, true, true),
      EXTENDED_ROW("sub.cc", true, false, true),
      EXTENDED_ROW("subc", true, true, false),
      EXTENDED_ROW("subc.cc", true, true, true),
      ROW("mul.lo", "us", Bits, mul_lo<T>),
      ROW("mul.hi", "us", Numbers, mul_hi<T>),
      ROW("mul.wide", "us", Halves, mul_wide<T>),
      ROW("mad.lo", "us", Bits, mad_lo<T>),
      ROW("mad.hi", "us", Numbers, mad_hi<T>),
      ROW("mad.wide", "us", Halves, mad_wide<T>),
      ROW("div", "us", Numbers, div<T>),
      ROW("rem", "us", Numbers, rem<T>),
      ROW("neg", "s", Signed, neg<T>),
      ROW("abs", "s", Signed, abs<T>),
      ROW("min", "us", Numbers, min<T>),
      ROW("max", "us", Numbers, max<T>),
      ROW("and", "bp", Logic, bit_and<T>),
      ROW("or", "bp", Logic, bit_or<T>),
      ROW("xor", "bp", Logic, bit_xor<T>),
      ROW("not", "bp", Logic, bit_not<T>),
      ROW("cnot", "b", Bits, cnot<T>),
      ROW("shl", "b", Bits, shl<T>),
      ROW("shr", "bus", Numbers, shr<T>),
      ROW("shf.l.clamp", "b", Word, shf_l_clamp<T>),
      ROW("shf.r.clamp", "b", Word, shf_r_clamp<T>),
      ROW("shf.l.wrap", "b", Word, shf_l_wrap<T>),
      ROW("shf.r.wrap", "b", Word, shf_r_wrap<T>),
      ROW("prmt", "b", Word, prmt<T>),
      ROW("prmt.f4e", "b", Word, prmt_by_table<T, 0x3210, 0x4321, 0x5432, 0x6543>),
      ROW("prmt.b4e", "b", Word, prmt_by_table<T, 0x5670, 0x6701, 0x7012, 0x0123>),
      ROW("prmt.rc8", "b", Word, prmt_by_table<T, 0x0000, 0x1111, 0x2222, 0x3333>),
      ROW("prmt.ecl", "b", Word, prmt_by_table<T, 0x3210, 0x3211, 0x3222, 0x3333>),
      ROW("prmt.ecr", "b", Word, prmt_by_table<T, 0x0000, 0x1110, 0x2210, 0x3210>),
      ROW("prmt.rc16", "b", Word, prmt_by_table<T, 0x1010, 0x3232, 0x1010, 0x3232>),
      ROW("lop3", "b", Word, lop3<T>),
      ROW("bfe", "us", SignedWords, bfe<T>),
      ROW("bfi", "b", Words, bfi<T>),
      ROW("bfind", "us", SignedWords, bfind<T>),
      ROW("bfind.shiftamt", "us", SignedWords, bfind_shift<T>),
      ROW("clz", "b", Words, clz<T>),
      ROW("popc", "b", Words, popc<T>),
      ROW("brev", "b", Words, brev<T>),
      ROW("setp.eq", "bus", Bits, eq<T>),
      ROW("setp.ne", "bus", Bits, ne<T>),
      ROW("setp.lt", "us", Numbers, lt<T>),
      ROW("setp.le", "us", Numbers, le<T>),
      ROW("setp.gt", "us", Numbers, gt<T>),
      ROW("setp.ge", "us", Numbers, ge<T>),
      ROW("setp.lo", "u", Bits, lt<T>),
      ROW("setp.ls", "u", Bits, le<T>),
      ROW("setp.hi", "u", Bits, gt<T>),
      ROW("setp.hs", "u", Bits, ge<T>),
      ROW("slct", "bus", Bits, slct<T>),
      // Generic, global and constant addresses are the same numbers here.
      ROW("cvta.global", "u", Types<std::uint64_t>, identity<T>),
      ROW("cvta.to.global", "u", Types<std::uint64_t>, identity<T>),
      ROW("cvta.const", "u", Types<std::uint64_t>, identity<T>),
      ROW("cvta.to.const", "u", Types<std::uint64_t>, identity<T>),
  };
  return rows;
}

#undef ROW
#undef EXTENDED_ROW

// --- memory and vectors ----------------------------------------------------------------------------------------------

template <typename T, std::size_t count, bool of_parameters>
Next load(Next self, Thread& thread) {
  const std::uint64_t address =
      thread.read<std::uint64_t>(self->slots[count]) + static_cast<std::uint64_t>(self->offset);
  constexpr std::size_t bytes = count * sizeof(T);
  const std::byte* source = nullptr;
  if constexpr (of_parameters) {
    source = thread.parameter(address, bytes);
  } else {
    source = thread.source<bytes>(address);
  }
  T values[count];
  std::memcpy(values, source, bytes);
  for (std::size_t i = 0; i < count; ++i) {
    thread.write<T>(self->slots[i], values[i]);
  }
  return self + 1;
}

template <typename T, std::size_t count>
Next store(Next self, Thread& thread) {
  const std::uint64_t address = thread.read<std::uint64_t>(self->slots[0]) + static_cast<std::uint64_t>(self->offset);
  T values[count];
  for (std::size_t i = 0; i < count; ++i) {
    values[i] = thread.read<T>(self->slots[i + 1]);
  }
  constexpr std::size_t bytes = count * sizeof(T);
  std::memcpy(thread.target<bytes>(address), values, bytes);
  return self + 1;
}

/// "mov.b32 d, {a, b}: d = a | (b << 16)", and so on.
template <typename T, std::size_t count>
Next pack(Next self, Thread& thread) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < count; ++i) {
    value |= std::uint64_t{thread.read<T>(self->slots[i + 1])} << (width<T> * i);
  }
  thread.write<std::uint64_t>(self->slots[0], value);
  return self + 1;
}

template <typename T, std::size_t count>
Next unpack(Next self, Thread& thread) {
  const auto value = thread.read<std::uint64_t>(self->slots[count]);
  for (std::size_t i = 0; i < count; ++i) {
    thread.write<T>(self->slots[i], static_cast<T>(value >> (width<T> * i)));
  }
  return self + 1;
}

/// make.operator()<T>() with the T of that many bits.
template <typename Make>
Execute of_width(unsigned bits, Make make) {
  switch (bits) {
    case 8:
      return make.template operator()<std::uint8_t>();
    case 16:
      return make.template operator()<std::uint16_t>();
    case 32:
      return make.template operator()<std::uint32_t>();
    case 64:
      return make.template operator()<std::uint64_t>();
    default:
      return nullptr;
  }
}

template <typename Make>
Execute of_type(Type type, Make make) {
  if (type.kind != 's') {
    return type.kind == 'u' ? of_width(type.bits, make) : nullptr;
  }
  return of_width(type.bits, [&]<typename T>() { return make.template operator()<std::make_signed_t<T>>(); });
}

Execute of_count(unsigned count, Execute one, Execute two, Execute four) {
  return count == 1 ? one : count == 2 ? two : count == 4 ? four : nullptr;
}

template <bool wanted>
Next branch_if(Next self, Thread& thread) {
  return thread.read<bool>(self->slots[0]) == wanted ? self + self->offset : self + 1;
}

}  // namespace

std::optional<Type> parse_type(std::string_view name) {
  if (name == "pred") {
    return Type{'p', 1};
  }
  static const std::unordered_map<std::string_view, std::uint8_t> widths = {
      {"8", 8}, {"16", 16}, {"32", 32}, {"64", 64}};
  const auto found = name.empty() ? widths.end() : widths.find(name.substr(1));
  const bool known = found != widths.end() && std::string_view("busf").find(name[0]) != std::string_view::npos &&
                     (name[0] != 'f' || found->second >= 32);
  return known ? std::optional(Type{name[0], found->second}) : std::nullopt;
}

Lookup find_operation(std::string_view spelling, Type type, Code* code) {
  const auto row = table().find(spelling);
  if (row == table().end()) {
    const std::string_view name = spelling.substr(0, spelling.find('.'));
    for (const auto& [known, unused] : table()) {
      if (known.substr(0, known.find('.')) == name) {
        return Lookup::unknown_modifier;
      }
    }
    return Lookup::unknown_operation;
  }
  if (row->second.kinds.find(type.kind) == std::string_view::npos) {
    return Lookup::wrong_type;
  }
  // Where the sign matters there are two of a width; else any that has the width will do.
  const Variant* best = nullptr;
  for (const Variant& variant : row->second.variants) {
    if (variant.type.bits == type.bits && (best == nullptr || variant.is_signed == (type.kind == 's'))) {
      best = &variant;
    }
  }
  if (best == nullptr) {
    return Lookup::wrong_type;
  }
  *code = best->code;
  return Lookup::found;
}

std::string reason_of_refusal(std::string_view word) {
  static const std::unordered_map<std::string_view, std::string_view> reasons = {
      {"bar", "barriers"},
      {"barrier", "barriers"},
      {"atom", "atomics"},
      {"red", "atomics"},
      {"call", "calls"},
      {"func", "calls"},
      {"brx", "indirect branches"},
      {"shared", "shared memory"},
      {"local", "local memory"},
      {"shfl", "exchange within a warp"},
      {"vote", "exchange within a warp"},
      {"match", "exchange within a warp"},
      {"activemask", "exchange within a warp"},
      {"membar", "memory ordering"},
      {"fence", "memory ordering"},
      {"volatile", "memory ordering"},
      {"ftz", "flush to zero"},
      {"approx", "approximate arithmetic"},
  };
  const auto found = reasons.find(word);
  return found == reasons.end() ? "" : fmt::format(": the subset has no {}", found->second);
}

Execute conversion(Type to, Type from, bool saturate) {
  return of_type(to, [&]<typename To>() {
    return of_type(from, [&]<typename From>() -> Execute {
      return saturate ? &Apply<&convert<To, From, true>>::execute : &Apply<&convert<To, From, false>>::execute;
    });
  });
}

Execute load(unsigned bits, unsigned count) {
  return of_width(
      bits, [&]<typename T>() { return of_count(count, &load<T, 1, false>, &load<T, 2, false>, &load<T, 4, false>); });
}

Execute load_parameter(unsigned bits, unsigned count) {
  return of_width(
      bits, [&]<typename T>() { return of_count(count, &load<T, 1, true>, &load<T, 2, true>, &load<T, 4, true>); });
}

Execute store(unsigned bits, unsigned count) {
  return of_width(bits, [&]<typename T>() { return of_count(count, &store<T, 1>, &store<T, 2>, &store<T, 4>); });
}

Execute pack(unsigned bits, unsigned count) {
  return of_width(bits, [&]<typename T>() { return of_count(count, nullptr, &pack<T, 2>, &pack<T, 4>); });
}

Execute unpack(unsigned bits, unsigned count) {
  return of_width(bits, [&]<typename T>() { return of_count(count, nullptr, &unpack<T, 2>, &unpack<T, 4>); });
}

Execute move() {
  return [](Next self, Thread& thread) {
    thread.copy(self->slots[0], self->slots[1]);
    return self + 1;
  };
}

Execute select() {
  return [](Next self, Thread& thread) {
    thread.copy(self->slots[0], thread.read<bool>(self->slots[3]) ? self->slots[1] : self->slots[2]);
    return self + 1;
  };
}

Execute branch_if(bool wanted) {
  return wanted ? &branch_if<true> : &branch_if<false>;
}

Execute branch() {
  return [](Next self, Thread&) { return self + self->offset; };
}

Execute finish() {
  return [](Next, Thread&) -> Next { return nullptr; };
}

Execute trap() {
  return [](Next, Thread&) -> Next { throw Trouble{"trap", {}}; };
}

}  // namespace sluice::sim::ptx
