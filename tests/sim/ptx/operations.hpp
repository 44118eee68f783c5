// Operations: how PTX spells an operation, and the function that carries it out. One table in operations.cpp is the
// whole list; what is not simply a function of registers (memory, branches, vectors) has a function of its own here.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tests/sim/ptx/instruction.hpp"

namespace sluice::sim::ptx {

/// .u32 is {'u', 32}. Kinds: b, u, s, f, and p with 1 bit.
struct Type {
  char kind = 'b';
  std::uint8_t bits = 0;
};

std::optional<Type> parse_type(std::string_view name);

/// What to execute, and how wide the register for each operand is, in bits: the target's first.
struct Code {
  Execute execute = nullptr;
  std::uint8_t operands = 0;
  std::array<std::uint8_t, 6> bits{};
};

enum class Lookup { found, unknown_operation, unknown_modifier, wrong_type };

/// `spelling` is operation and modifiers, without types: "mul.wide", "setp.lt", "prmt.f4e".
Lookup find_operation(std::string_view spelling, Type type, Code* code);

/// ": the subset has no barriers", if `word`, an operation, a modifier or a directive, tells so much; else empty.
std::string reason_of_refusal(std::string_view word);

/// Of integers; nullptr for other types. Slots: target, source. The bits above `to` become zero.
Execute conversion(Type to, Type from, bool saturate);

/// `bits` of 8 to 64, `count` of 1, 2, 4; nullptr for others. Slots: targets, then sources; an address is one.
Execute load(unsigned bits, unsigned count);
Execute load_parameter(unsigned bits, unsigned count);
Execute store(unsigned bits, unsigned count);

/// mov between one register and `count`, 2 or 4, of `bits` each; nullptr for others. Slots: targets, then sources.
Execute pack(unsigned bits, unsigned count);
Execute unpack(unsigned bits, unsigned count);

/// Copies a slot, defined or not.
Execute move();
/// Slots: target, a, b, predicate. The one that is not chosen may be undefined.
Execute select();
/// Goes on at `offset` if the predicate in slot 0 is `wanted`.
Execute branch_if(bool wanted);
Execute branch();
Execute finish();
Execute trap();

}  // namespace sluice::sim::ptx
