// Decoder: the body of one kernel, statement by statement, from text to instructions. parse() hands it the lexer where
// the body begins and takes the kernel back complete.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/ptx/lexer.hpp"
#include "tests/sim/ptx/module.hpp"
#include "tests/sim/ptx/operations.hpp"
#include "tests/sim/ptx/registers.hpp"

namespace sluice::sim::ptx {

/// What names of parameters and variables stand for: an address.
using Symbols = std::map<std::string, std::uint64_t, std::less<>>;

/// `ld.global.nc.v2.u32` taken apart.
struct Opcode {
  Token token;
  std::string_view name;
  std::vector<std::string_view> modifiers;
  std::vector<Type> types;

  /// Whether `modifier` is there; it is gone then.
  bool take(std::string_view modifier);
};

class Decoder {
 public:
  Decoder(Lexer& lexer, const Symbols& symbols, Kernel& kernel);

  /// From `{` to `}`. Throws Error.
  void body();

 private:
  struct Guard {
    std::uint16_t predicate;
    bool wanted;
  };
  struct Address {
    std::uint16_t base;
    std::int64_t offset;
  };
  struct Label {
    Token name;
    std::size_t instruction;  // that branches there
  };
  enum class Width { exact, at_least };
  using Slots = std::vector<std::uint16_t>;

  void statement();
  void label(const Token& name);
  void directive(const Token& word);
  void declare_registers();
  void instruction();
  void resolve_labels();

  // One for each operation that is more than a row of the table.
  void branch(Opcode& opcode, const std::optional<Guard>& guard);
  void dispatch(Opcode& opcode);
  void load(Opcode& opcode);
  void store(Opcode& opcode);
  void mov(Opcode& opcode);
  void cvt(Opcode& opcode);
  void setp(Opcode& opcode);
  void selp(Opcode& opcode);
  void tabled(Opcode& opcode);

  Opcode opcode();
  Type only_type(const Opcode& opcode) const;
  void no_more_modifiers(const Opcode& opcode) const;
  void drop_cache_hints(Opcode& opcode);
  unsigned take_vector(Opcode& opcode, unsigned bits);
  Execute operation(const Opcode& opcode, const std::string& spelling, Type type, Code* code = nullptr) const;

  std::uint16_t target(unsigned bits, Width width = Width::exact);
  std::uint16_t source(unsigned bits, Width width = Width::exact);
  Slots targets(unsigned count, unsigned bits, Width width);
  Slots sources(unsigned count, unsigned bits, Width width);
  template <typename Operand>
  Slots list(unsigned count, Operand operand);
  Address address();
  std::uint16_t literal(const Token& token, std::uint64_t value, unsigned bits);
  std::uint16_t check_width(const Token& token, std::uint16_t slot, unsigned bits, Width width) const;

  void emit(Execute execute, const Slots& slots, std::int64_t offset = 0);
  void extend_sign(std::uint16_t slot, Type type);

  Lexer& lexer_;
  const Symbols& symbols_;
  Kernel& kernel_;
  Registers registers_;
  std::uint32_t line_ = 0;  // of the statement
  std::map<std::string, std::size_t, std::less<>> labels_;
  std::vector<Label> jumps_;
};

}  // namespace sluice::sim::ptx
