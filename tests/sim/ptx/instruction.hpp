// Instruction: one step of a kernel, decoded. Registers, literals and special registers are slots of one file of 64-bit
// numbers, so an instruction is a function and the numbers of its slots, targets first.
#pragma once

#include <array>
#include <cstdint>

namespace sluice::sim::ptx {

class Thread;
struct Instruction;

/// Does it, and says what is next; nullptr where the thread ends.
using Execute = const Instruction* (*)(const Instruction* self, Thread& thread);

struct Instruction {
  Execute execute = nullptr;
  std::int64_t offset = 0;               // added to an address, or to `this` by a branch
  std::array<std::uint16_t, 6> slots{};  // targets, then sources
  std::uint32_t line = 0;
};

/// Slots that every kernel has. The special registers come first, in the order x, y, z.
inline constexpr std::uint16_t slot_tid = 0;
inline constexpr std::uint16_t slot_ntid = 3;
inline constexpr std::uint16_t slot_ctaid = 6;
inline constexpr std::uint16_t slot_nctaid = 9;
inline constexpr std::uint16_t slot_carry = 12;    // the condition code of add.cc and its kin
inline constexpr std::uint16_t slot_sink = 13;     // `_`: written, never read
inline constexpr std::uint16_t slot_scratch = 14;  // three, for instructions that are carried out in steps
inline constexpr std::uint16_t slots_reserved = 17;

/// What a slot holds before it is written. Values of registers of 32 bits and less cannot equal it, as slots above a
/// register's width are zero; a register of 64 bits that does is taken for undefined.
inline constexpr std::uint64_t poison = 0xdeadbeefdeadbeefu;

}  // namespace sluice::sim::ptx
