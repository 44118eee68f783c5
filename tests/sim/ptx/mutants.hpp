// Mutants: a PTX text with one small mistake in it, as a slip in the kernel or a compiler's bug would put there:
// another operation or comparison, a number that is off by one, an address that is off by one access, operands
// exchanged, a guard or a store gone. Tests of the kernel are worth what they kill: each mutant that they let pass is a
// test that is missing, or computes the same (a sign that does not matter, say, or a limit that is never reached).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::sim::ptx {

/// `bytes` of the text at `offset` become `replacement`.
struct Mutation {
  std::size_t offset = 0;
  std::size_t bytes = 0;
  std::string replacement;
  std::uint32_t line = 0;
  std::string description;  // "line 12: `setp.lt.u32` becomes `setp.le.u32`"
};

/// All that are known, of every kernel in `text`, in the order of the text; shuffled by a seed that is not 0, so that
/// the first n are a sample. The mutated texts are of the subset, if `text` is. Throws Error where `text` is no PTX at
/// all.
std::vector<Mutation> mutations(std::string_view text, std::uint64_t seed = 0);

std::string mutate(std::string_view text, const Mutation& mutation);

}  // namespace sluice::sim::ptx
