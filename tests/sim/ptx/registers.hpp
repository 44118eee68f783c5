// Registers: the names of a kernel's body and the slots that they stand for. The decoder declares them as the text
// does, and asks for them. A register gets its slot when it is declared by its own name, or, as a member of a family
// `%r<178>`, when it is first named; each literal has one slot.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tests/sim/ptx/module.hpp"

namespace sluice::sim::ptx {

class Registers {
 public:
  /// The slots go into `kernel`; the special registers are there from the start.
  explicit Registers(Kernel& kernel);

  /// Braces: inside, names may be declared anew, and are forgotten at the end.
  void open_scope() { scopes_.emplace_back(); }
  void close_scope() { scopes_.pop_back(); }
  bool in_scope() const { return !scopes_.empty(); }

  /// False if the name is taken.
  bool declare(std::string_view name, unsigned bits);
  bool declare_family(std::string_view prefix, unsigned bits, std::uint64_t count);

  std::optional<std::uint16_t> find(std::string_view name);
  std::uint16_t literal(std::uint64_t value);
  unsigned bits(std::uint16_t slot) const { return bits_[slot]; }

 private:
  using Slots = std::map<std::string, std::uint16_t, std::less<>>;

  std::uint16_t add(std::string name, unsigned bits, std::uint64_t value);

  Kernel& kernel_;
  std::vector<std::uint8_t> bits_;  // by slot
  std::vector<Slots> scopes_;       // declared by their own names, innermost last
  std::map<std::string, std::pair<unsigned, std::uint64_t>, std::less<>> families_;  // %r: bits, how many
  Slots members_;  // of families, and special registers
  std::unordered_map<std::uint64_t, std::uint16_t> literals_;
};

}  // namespace sluice::sim::ptx
