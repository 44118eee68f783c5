// PtxFacts: what can be said of a PTX text without running it: which bits of a register can ever be set, and which are
// ever looked at. nvcc writes a statement a line. What is not understood may set, and looks at, all bits.
// Its test is deliver_mutants: no mutant that it says to compute the same may be killed.
#pragma once

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstdint>
#include <map>
#include <string_view>
#include <vector>

namespace sluice {

/// `setp.lt.u32 %p1, %r1, -8;`, with or without a guard.
struct PtxStatement {
  std::string_view guard;      // "%p1", whether negated or not
  std::string_view operation;  // "setp.lt.u32"
  std::vector<std::string_view> operands;
  std::size_t targets = 0;  // so many operands are written
  unsigned bits = 32;       // of the operation's last type, which is that of a conversion's source
  bool is_signed = false;

  explicit PtxStatement(std::string_view line) {
    constexpr std::string_view between = " \t,{}[]|;";
    while (true) {
      line.remove_prefix(std::min(line.find_first_not_of(between), line.size()));
      if (line.empty() || line.starts_with("//")) break;
      const std::string_view word = line.substr(0, line.find_first_of(between));
      line.remove_prefix(word.size());
      if (word[0] == '@') {
        guard = word.substr(word.find('%'));
      } else if (operation.empty()) {
        operation = word;
      } else {
        operands.push_back(word);
      }
    }
    const std::string_view type = operation.substr(operation.rfind('.') + 1);
    if (type.size() > 1) std::from_chars(type.data() + 1, type.data() + type.size(), bits);
    is_signed = type.starts_with('s');
    const auto has = [&](std::string_view part) { return operation.find(part) != std::string_view::npos; };
    targets = is("st") || is("bra") ? 0 : has(".v4.") ? 4 : has(".v2.") ? 2 : 1;
    targets = std::min(targets, operands.size());
  }

  /// Whether it is `name`, whatever follows that.
  bool is(std::string_view name) const {
    return operation.starts_with(name) && (operation.size() == name.size() || operation[name.size()] == '.');
  }
  std::string_view source(std::size_t i) const {
    return targets + i < operands.size() ? operands[targets + i] : std::string_view{};
  }
};

inline bool is_literal(std::string_view operand) {
  return !operand.empty() && (operand[0] == '-' || (operand[0] >= '0' && operand[0] <= '9'));
}

inline std::uint64_t literal(std::string_view operand) {
  if (operand[0] == '-') return 0 - literal(operand.substr(1));
  const bool hexadecimal = operand.starts_with("0x");
  std::uint64_t value = 0;
  const char* const end = operand.data() + operand.size();
  std::from_chars(operand.data() + (hexadecimal ? 2 : 0), end, value, hexadecimal ? 16 : 10);
  return value;
}

/// So many bits, from the lowest on.
constexpr std::uint64_t low_bits(unsigned count) {
  return count >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
}

class PtxFacts {
 public:
  explicit PtxFacts(std::string_view text) {
    while (!text.empty()) {
      const std::string_view line = text.substr(0, text.find('\n'));
      text.remove_prefix(std::min(line.size() + 1, text.size()));
      statements_.emplace_back(line);
      const PtxStatement& last = statements_.back();
      for (std::size_t i = 0; i < last.targets; ++i) written_[last.operands[i]].push_back(statements_.size() - 1);
    }
    bool changed = true;
    const auto widen = [&](std::uint64_t& mask, std::uint64_t by) {
      changed |= (by & ~mask) != 0;
      mask |= by;
    };
    while (changed) {
      changed = false;
      for (const PtxStatement& one : statements_) {
        for (std::size_t i = 0; i < one.targets; ++i) widen(possible_[one.operands[i]], result_of(one));
      }
    }
    changed = true;
    while (changed) {
      changed = false;
      for (const PtxStatement& one : statements_) {
        for (std::size_t i = one.targets; i < one.operands.size(); ++i) {
          const std::string_view base = one.operands[i].substr(0, one.operands[i].find('+'));  // [%rd1+8]
          widen(used_[base], looks_at(one, i - one.targets));
        }
      }
    }
  }

  /// One a line, the first of line 1.
  const std::vector<PtxStatement>& statements() const { return statements_; }
  const PtxStatement& statement(std::uint32_t line) const { return statements_.at(line - 1); }
  /// Where `name` is written, if that is in one place.
  const PtxStatement* source_of(std::string_view name) const {
    const auto found = written_.find(name);
    return found == written_.end() || found->second.size() != 1 ? nullptr : &statements_[found->second[0]];
  }

  /// The bits that may be set in a register, or are in a literal of so many bits.
  std::uint64_t possible(std::string_view operand, unsigned bits) const {
    if (is_literal(operand)) return literal(operand) & low_bits(bits);
    if (operand == "%tid.x") return 1023;
    const auto found = possible_.find(operand);
    if (found != possible_.end()) return found->second & low_bits(bits);
    return written_.contains(operand) ? 0 : low_bits(bits);
  }
  /// The bits of a register that anything depends on.
  std::uint64_t used(std::string_view name) const {
    const auto found = used_.find(name);
    return found == used_.end() ? 0 : found->second;
  }

  /// The bits that may be set in the result of `one`, were it in the text.
  std::uint64_t result_of(const PtxStatement& one) const {
    const std::uint64_t all = low_bits(one.is("mul.wide") || one.is("mad.wide") ? 2 * one.bits : one.bits);
    const auto in = [&](std::size_t i) { return possible(one.source(i), one.bits); };
    const bool may_be_negative = one.is_signed && (in(0) >> (one.bits - 1)) != 0;
    const bool by_literal = is_literal(one.source(1));
    const auto distance = static_cast<unsigned>(by_literal ? std::min<std::uint64_t>(in(1), 63) : 0);
    if (one.is("mov")) return in(0) & all;
    if (one.is("and")) return in(0) & in(1);
    if (one.is("or") || one.is("xor")) return in(0) | in(1);
    if (one.is("selp")) return in(0) | in(1);
    if (one.is("shl") && by_literal) return in(0) << distance & all;
    if (one.is("shr") && by_literal && !may_be_negative) return in(0) >> distance;
    if (one.is("min") && !one.is_signed) return ones(std::min(in(0), in(1)));
    if (one.is("max") && !one.is_signed) return ones(std::max(in(0), in(1)));
    if (one.is("add") && in(0) <= all - in(1)) return ones(in(0) + in(1));
    if (one.is("cvt") && !may_be_negative) return in(0);
    if (one.is("prmt") && is_literal(one.source(2))) {
      std::uint64_t result = 0;
      for (unsigned i = 0; i < 4; ++i) result |= picked(one, i) << 8 * i;
      return result;
    }
    if (one.is("ld") && one.bits < 32 && !one.is_signed) return all;
    if (one.is("mul.wide") && !may_be_negative && std::bit_width(in(0)) + std::bit_width(in(1)) < 64) {
      return ones(in(0) * in(1));
    }
    return one.is("cvt") || one.is("ld") || one.is("selp") ? ~std::uint64_t{0} : all;
  }

  /// What byte i of a prmt with a literal selector may hold.
  std::uint64_t picked(const PtxStatement& one, unsigned i) const {
    const std::uint64_t selector = literal(one.source(2)) >> 4 * i;
    const std::uint64_t byte = possible(one.source(selector >> 2 & 1), 32) >> 8 * (selector & 3) & 0xff;
    return (selector & 8) != 0 ? 0xff : byte;
  }

 private:
  static std::uint64_t ones(std::uint64_t largest) { return low_bits(static_cast<unsigned>(std::bit_width(largest))); }

  /// The bits of source i on which the used bits of the result depend.
  std::uint64_t looks_at(const PtxStatement& one, std::size_t i) const {
    const std::uint64_t all = low_bits(one.bits);
    if (one.is("setp")) return all;
    if (one.is("st")) return i == 0 ? ~std::uint64_t{0} : all;
    if (one.is("ld") || one.targets != 1) return ~std::uint64_t{0};
    const std::uint64_t result = used(one.operands[0]);
    const std::uint64_t up_to_highest = ones(result) & all;
    if (one.is("and")) return result & possible(one.source(1 - i), one.bits);
    if (one.is("or") || one.is("xor") || one.is("not") || one.is("mov")) return result;
    if (one.is("selp")) return i < 2 ? result : all;
    if (one.is("add") || one.is("sub") || one.is("mul.lo")) return up_to_highest;
    if (one.is("cvt")) return (result & all) | ((one.is_signed && (result & ~all) != 0) ? all ^ (all >> 1) : 0);
    if (i == 0 && is_literal(one.source(1)) && literal(one.source(1)) < one.bits) {
      const auto distance = static_cast<unsigned>(literal(one.source(1)));
      if (one.is("shl")) return result >> distance;
      if (one.is("shr")) return (result << distance & all) | (one.is_signed && result != 0 ? all ^ (all >> 1) : 0);
    }
    if (one.is("prmt") && i < 2 && is_literal(one.source(2))) {
      std::uint64_t looked_at = 0;
      for (unsigned byte = 0; byte < 4; ++byte) {
        const std::uint64_t selector = literal(one.source(2)) >> 4 * byte;
        if ((selector >> 2 & 1) == i) looked_at |= std::uint64_t{0xff} << 8 * (selector & 3);
      }
      return looked_at;
    }
    return i == 0 ? all : ~std::uint64_t{0};
  }

  std::vector<PtxStatement> statements_;  // one a line
  std::map<std::string_view, std::vector<std::size_t>> written_;
  std::map<std::string_view, std::uint64_t> possible_;
  std::map<std::string_view, std::uint64_t> used_;
};

}  // namespace sluice
