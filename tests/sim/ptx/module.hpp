// Module: a PTX text, parsed and decoded, ready to be run on the CPU. The tests run the kernel with it as it is
// shipped: the very text that lies in the library's fatbinary.
//
// The subset: entry functions of integer instructions, PTX of any version and target with 64-bit addresses.
//   arithmetic   add sub (.cc) addc subc mul.lo/.hi/.wide mad.lo/.hi/.wide div rem neg abs min max
//   bits         and or xor not cnot shl shr shf.l/.r.clamp/.wrap prmt (all modes) lop3 bfe bfi bfind clz popc brev
//   choice       setp (with .and .or .xor, p|q) selp slct
//   values       mov (also {a,b} to and from wider registers) cvt (integers, .sat) cvta
//   memory       ld st of .param .const .global and generic addresses, .v2 .v4, .nc, cache hints
//   control      bra ret exit trap, all with guards @p and @!p
// tid, ntid, ctaid and nctaid. Module variables only as constants. Registers of f32 and f64 are moved, not calculated
// with. An instruction is found by operation, modifiers and width, b/u/s alike where PTX does so: a new compiler may
// spell the same program differently. Whatever is not listed is an Error with its line, by purpose: barriers, atomics,
// shared and local memory, calls, indirect branches, votes, .ftz, .approx. The kernel is to live without.
//
// Stricter than a GPU: reading a register that was never written, dividing by zero, loading bytes that were never
// written, storing to constants are faults, and so is every access that is not aligned or leaves its allocation.
// What it cannot show: what ptxas and the driver make of the text; timing; memory ordering and races inside a launch,
// as each thread runs from its start to its end (though in any order that the seed says); caches, divergence.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/ptx/error.hpp"
#include "tests/sim/ptx/instruction.hpp"

namespace sluice::sim::ptx {

struct Parameter {
  std::string name;
  std::uint32_t offset = 0;
  std::uint32_t bytes = 0;
};

/// What `.const` and initialised `.global` variables of a module hold, at an address of its own.
inline constexpr std::uint64_t constants_address = 0xc000'0000'0000'0000u;
using Constants = std::vector<std::byte>;

struct Kernel {
  std::string name;
  std::vector<Parameter> parameters;
  std::uint32_t parameter_bytes = 0;
  std::uint32_t threads_max = 1024;  // of a block: .maxntid
  bool threads_exact = false;        // .reqntid: no fewer either
  std::vector<Instruction> code;
  std::vector<std::uint64_t> slots;     // as each thread finds them: literals, and poison
  std::vector<std::string> slot_names;  // for messages
  std::shared_ptr<const Constants> constants;
};

struct Module {
  std::string version;  // "9.0"
  std::string target;   // "sm_75"
  std::vector<Kernel> kernels;

  const Kernel* kernel(std::string_view name) const;
};

/// Throws Error.
Module parse(std::string_view text);

}  // namespace sluice::sim::ptx
