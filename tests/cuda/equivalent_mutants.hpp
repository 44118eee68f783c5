// The mutants of the kernel that its cases need not kill, by rule: why each of them computes the same, or what no case
// can show. deliver_mutants fails where a mutant survives without a rule, where a rule matches one that is killed, and
// so says too much, and where a rule matches none. Of the rules that match a mutant, the first one counts.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <iterator>
#include <string_view>

#include "tests/cuda/ptx_facts.hpp"
#include "tests/sim/ptx/mutants.hpp"

namespace sluice {

/// A mutated statement.
struct MutatedPtx {
  const PtxFacts& facts;
  const sim::ptx::Mutation& mutation;
  const PtxStatement& before;
  const PtxStatement after;
  const PtxStatement& previous;  // of the text
  bool moves_vector;             // as the code does from the first read of the extent on; before it, a vector is found

  // `operation` of what writes the operand.
  bool comes_from(std::string_view operand, std::string_view operation) const {
    const PtxStatement* const source = facts.source_of(operand);
    return source != nullptr && source->is(operation);
  }
  bool may_be_negative(std::size_t source) const {
    return (facts.possible(before.source(source), before.bits) >> (before.bits - 1)) != 0;
  }
  bool only_operation_differs() const {
    return before.operation != after.operation && before.operands == after.operands;
  }
  bool only_sign_differs() const {
    const auto stem = [](const PtxStatement& one) { return one.operation.substr(0, one.operation.rfind('.')); };
    return only_operation_differs() && stem(before) == stem(after) && before.is_signed != after.is_signed;
  }
  /// The source that is another literal, or -1.
  int changed_literal() const {
    int changed = -1;
    if (before.operation != after.operation || before.operands.size() != after.operands.size()) return -1;
    for (std::size_t i = 0; i < before.operands.size(); ++i) {
      if (before.operands[i] == after.operands[i]) continue;
      if (changed != -1 || i < before.targets || !is_literal(before.operands[i]) || !is_literal(after.operands[i])) {
        return -1;
      }
      changed = static_cast<int>(i - before.targets);
    }
    return changed;
  }
  bool literal_becomes(std::string_view operation, std::string_view from, std::string_view to) const {
    const int i = changed_literal();
    return i >= 0 && before.is(operation) && before.source(static_cast<std::size_t>(i)) == from &&
           after.source(static_cast<std::size_t>(i)) == to;
  }
  /// Whether a comparison with a literal, another of which it is now, differs for one number only; that is `number`.
  bool differs_for_one(std::uint64_t& number) const {
    if (!before.is("setp") || !is_literal(before.source(1)) || !is_literal(after.source(1))) return false;
    if (before.source(0) != after.source(0) || before.is_signed != after.is_signed) return false;
    const auto is_below = [](const PtxStatement& one) { return one.is("setp.lt") || one.is("setp.le"); };
    const auto is_above = [](const PtxStatement& one) { return one.is("setp.gt") || one.is("setp.ge"); };
    // The first number that is not below, or is above.
    const auto first = [](const PtxStatement& one) {
      return literal(one.source(1)) + (one.is("setp.le") || one.is("setp.gt") ? 1 : 0);
    };
    if (!(is_below(before) && is_below(after)) && !(is_above(before) && is_above(after))) return false;
    number = std::min(first(before), first(after)) & low_bits(before.bits);
    return first(before) - first(after) == 1 || first(after) - first(before) == 1;
  }
};

struct EquivalentMutants {
  const char* reason;
  bool (*match)(const MutatedPtx&);
};

namespace equivalent {

// --- what follows from the bits that registers may hold --------------------------------------------------------------

inline bool sign_is_never_seen(const MutatedPtx& mutant) {
  if (!mutant.only_sign_differs()) return false;
  const PtxStatement& one = mutant.before;
  if (one.is("cvt")) {
    const PtxStatement target(one.operation.substr(0, one.operation.rfind('.')));
    return target.bits <= one.bits || !mutant.may_be_negative(0) ||
           (mutant.facts.used(one.operands[0]) & ~low_bits(one.bits)) == 0;
  }
  if (one.is("shr")) {
    if (!mutant.may_be_negative(0)) return true;
    if (!is_literal(one.source(1))) return false;
    const auto kept = static_cast<unsigned>(one.bits - literal(one.source(1)));
    return (mutant.facts.used(one.operands[0]) & low_bits(one.bits) & ~low_bits(kept)) == 0;
  }
  return !mutant.may_be_negative(0) && !mutant.may_be_negative(1);
}

inline bool bits_never_meet(const MutatedPtx& mutant) {
  const PtxStatement& one = mutant.before;
  return mutant.only_operation_differs() && one.is("or") && mutant.after.is("xor") &&
         (mutant.facts.possible(one.source(0), one.bits) & mutant.facts.possible(one.source(1), one.bits)) == 0;
}

inline bool changed_bits_do_not_matter(const MutatedPtx& mutant) {
  const int i = mutant.changed_literal();
  if (i < 0) return false;
  const PtxStatement& one = mutant.before;
  const auto at = static_cast<std::size_t>(i);
  if (one.is("and")) {
    const std::uint64_t changed = literal(one.source(at)) ^ literal(mutant.after.source(at));
    return (changed & mutant.facts.possible(one.source(1 - at), one.bits) & mutant.facts.used(one.operands[0])) == 0;
  }
  if (one.is("prmt") && at == 2) {
    for (unsigned byte = 0; byte < 4; ++byte) {
      const bool same = (literal(one.source(2)) ^ literal(mutant.after.source(2))) >> 4 * byte % 16 == 0;
      if (!same && (mutant.facts.picked(one, byte) | mutant.facts.picked(mutant.after, byte)) != 0) return false;
    }
    return true;
  }
  return false;
}

inline bool number_is_never_compared(const MutatedPtx& mutant) {
  std::uint64_t number = 0;
  return mutant.differs_for_one(number) &&
         (number & ~mutant.facts.possible(mutant.before.source(0), mutant.before.bits)) != 0;
}

// --- finding the vector ----------------------------------------------------------------------------------------------

inline bool count_is_below_2_31(const MutatedPtx& mutant) {
  static constexpr std::string_view operations[] = {"shr.u32",     "shr.s32",     "mul.wide.u32", "setp.le.u32",
                                                    "setp.gt.u32", "setp.ge.u32", "div.u32",      "cvt.u64.u32"};
  // At the end of the loop:
  const bool is_next = mutant.before.operation == "setp.lt.u32" && !is_literal(mutant.before.source(1));
  if (is_next && mutant.moves_vector && mutant.only_sign_differs()) return true;
  return !mutant.moves_vector && mutant.only_sign_differs() &&
         std::find(std::begin(operations), std::end(operations), mutant.before.operation) != std::end(operations);
}

inline bool searches_among_one(const MutatedPtx& mutant) {
  return !mutant.moves_vector && (mutant.literal_becomes("setp.eq.s32", "1", "0") ||
                                  (mutant.after.operation.empty() && mutant.before.is("bra") &&
                                   mutant.previous.is("mov") && mutant.previous.bits == 64));
}

inline bool searches_from_before_the_first(const MutatedPtx& mutant) {
  return !mutant.moves_vector && mutant.literal_becomes("mov", "0", "-1") && mutant.previous.is("bra");
}

inline bool piece_is_below_2_31_vectors(const MutatedPtx& mutant) {
  return mutant.before.is("bfi") && mutant.changed_literal() == 3;
}

inline bool first_word_is_not_before_the_extent(const MutatedPtx& mutant) {
  return !mutant.moves_vector && mutant.literal_becomes("shr.s32", "4", "5") &&
         mutant.comes_from(mutant.before.source(0), "mad.lo");
}

// --- moving it -------------------------------------------------------------------------------------------------------

inline bool word_is_in_the_extent(const MutatedPtx& mutant) {
  if (!mutant.only_sign_differs()) return false;
  const PtxStatement& one = mutant.before;
  if (one.is("min.s32")) return mutant.comes_from(one.source(0), "max") || mutant.comes_from(one.source(1), "max");
  if (one.is("mul.wide.s32")) return mutant.comes_from(one.source(0), "min");
  // The first words of a vector may lie before its row, and so before the extent, but not the last.
  const PtxStatement* const sum = mutant.facts.source_of(one.source(0));
  if (!one.is("max.s32") || sum == nullptr || !sum->is("add.s32") || !is_literal(sum->source(1))) return false;
  return std::none_of(mutant.facts.statements().begin(), mutant.facts.statements().end(),
                      [&](const PtxStatement& other) {
                        return other.is("add.s32") && other.source(0) == sum->source(0) &&
                               is_literal(other.source(1)) && literal(other.source(1)) > literal(sum->source(1));
                      });
}

inline bool vector_has_elements(const MutatedPtx& mutant) {
  const PtxStatement& one = mutant.before;
  if (!mutant.moves_vector || !mutant.only_sign_differs() || !one.is("setp") || one.bits != 32) return false;
  return (one.is("setp.gt") || one.is("setp.lt")) && is_literal(one.source(1)) && literal(one.source(1)) >= 2 &&
         literal(one.source(1)) <= 16;
}

inline bool vector_begins_before_its_end(const MutatedPtx& mutant) {
  return mutant.before.is("or.pred") && mutant.after.is("xor.pred") &&
         mutant.comes_from(mutant.before.source(0), "setp.lt.s32") &&
         mutant.comes_from(mutant.before.source(1), "setp.lt.s32");
}

inline bool last_element_is_never_before_the_first(const MutatedPtx& mutant) {
  const PtxStatement& one = mutant.before;
  if (!one.is("setp.lt.s32") || !is_literal(one.source(1)) || one.source(1)[0] != '-') return false;
  // One element after the other: the next to be compared is of another vector.
  const auto& all = mutant.facts.statements();
  const auto next = std::find_if(all.begin() + mutant.mutation.line, all.end(), [&](const PtxStatement& other) {
    return other.is("setp.lt.s32") && other.source(0) == one.source(0) && is_literal(other.source(1));
  });
  if (next != all.end() && literal(next->source(1)) == literal(one.source(1)) - 1) return false;
  return mutant.only_sign_differs() ||
         (mutant.changed_literal() == 1 && literal(mutant.after.source(1)) == literal(one.source(1)) - 1);
}

inline bool cast_is_never_from_bytes(const MutatedPtx& mutant) {
  if (!mutant.moves_vector || !mutant.before.is("bra")) return false;
  const bool is_default = mutant.after.operation.empty() && mutant.before.is("bra.uni");
  const bool is_guard = mutant.before.operation == mutant.after.operation && mutant.mutation.replacement.empty();
  // Of the cases of the switch, the last: F32. F8_E5M2 is the default, elsewhere.
  const PtxStatement* const last = mutant.facts.source_of(is_default ? mutant.previous.guard : mutant.before.guard);
  return (is_default || is_guard) && last != nullptr && last->is("setp.eq.s16") && last->source(1) == "2";
}

// --- casts -----------------------------------------------------------------------------------------------------------

// setp.lt %p, significand, 2^n, where %p chooses whether significand is shifted.
inline bool normalises(const MutatedPtx& mutant) {
  const PtxStatement& one = mutant.before;
  if (!one.is("setp.lt") || one.is_signed || !is_literal(one.source(1))) return false;
  const auto& all = mutant.facts.statements();
  return std::has_single_bit(literal(one.source(1))) && std::any_of(all.begin(), all.end(), [&](const auto& other) {
           return other.is("selp") && other.source(2) == one.operands[0];
         });
}

inline bool normalises_by_less(const MutatedPtx& mutant) {
  std::uint64_t number = 0;
  return mutant.moves_vector && normalises(mutant) && mutant.differs_for_one(number) && std::has_single_bit(number);
}

inline bool significand_is_small(const MutatedPtx& mutant) {
  const bool product = mutant.before.is("mul.wide.u32") && mutant.comes_from(mutant.before.source(0), "shl");
  const bool rounded = mutant.before.is("shr.u32") && !is_literal(mutant.before.source(1));
  return mutant.moves_vector && mutant.only_sign_differs() && (normalises(mutant) || product || rounded);
}

inline bool is_far_below_2_31(const MutatedPtx& mutant) {
  return mutant.only_sign_differs() && mutant.before.is("min.u32") &&
         mutant.comes_from(mutant.before.source(0), "add") && is_literal(mutant.before.source(1)) &&
         literal(mutant.before.source(1)) < 1 << 16;
}

inline bool magnitude_has_no_sign(const MutatedPtx& mutant) {
  const auto is_sign = [&](std::string_view operand) {
    const PtxStatement* const source = mutant.facts.source_of(operand);
    return source != nullptr && source->is("and") &&
           (source->source(1) == "32768" || source->source(1) == "-9223372036854775808");
  };
  return mutant.only_operation_differs() && mutant.before.is("or") && mutant.after.is("xor") &&
         (is_sign(mutant.before.source(0)) || is_sign(mutant.before.source(1)));
}

inline bool shift_leaves_nothing(const MutatedPtx& mutant) {
  return mutant.literal_becomes("min.u32", "25", "26") || mutant.literal_becomes("min.u32", "27", "28");
}

inline bool exponent_is_too_large(const MutatedPtx& mutant) {
  return mutant.literal_becomes("min.u32", "1152", "1151") || mutant.literal_becomes("min.u32", "1152", "1153");
}

inline bool grids_agree_at_the_edge(const MutatedPtx& mutant) {
  std::uint64_t number = 0;
  // With the largest magnitude below the target's smallest normal number.
  return mutant.before.is("setp.gt.u32") && mutant.differs_for_one(number) &&
         (literal(mutant.before.source(1)) & 0x7fffff) == 0x7fffff;
}

inline bool any_lower_bit_makes_a_nan(const MutatedPtx& mutant) {
  return mutant.literal_becomes("selp.u64", "1", "2");
}

inline constexpr EquivalentMutants rules[] = {
    {"signed or not: the top bit is never set, or what it would fill is not looked at", sign_is_never_seen},
    {"or, xor: no bit can be set in both", bits_never_meet},
    {"a mask or selector: the bits that it changes are zero, or are not looked at", changed_bits_do_not_matter},
    {"a comparison: the number for which it differs cannot occur", number_is_never_compared},
    {"signed or not: counts and offsets reach 2^31 in extents beyond 2 GiB only; slabs end at 1 GiB",
     count_is_below_2_31},
    {"speed only: a search among one piece finds it", searches_among_one},
    {"a search from before the first piece finds the same", searches_from_before_the_first},
    {"a piece of 2^31 vectors is in an extent of 16 GiB or more only; slabs end at 1 GiB", piece_is_below_2_31_vectors},
    {"reads words of other rows of the extent, and uses nothing of them", first_word_is_not_before_the_extent},
    {"signed or not: words that are read are in the extent", word_is_in_the_extent},
    {"signed or not: vectors that have no elements are not moved", vector_has_elements},
    {"or, xor: no element is both before a row's first and behind its last", vector_begins_before_its_end},
    {"the last element of a vector is never before the row's first, unless it is behind the last",
     last_element_is_never_before_the_first},
    {"a switch: bytes are copied, and not cast", cast_is_never_from_bytes},
    {"normalising: the power of two, not shifted by this step, is shifted by those that follow, or adds one to the "
     "exponent",
     normalises_by_less},
    {"signed or not: significands are below 2^28, of 16 bits below 2^15", significand_is_small},
    {"signed or not: distances of shifts, and magnitudes rounded to 8 or 16 bits, are not negative", is_far_below_2_31},
    {"or, xor: a magnitude has no sign", magnitude_has_no_sign},
    {"a significand shifted by so much or more rounds to zero", shift_leaves_nothing},
    {"F64 exponents of 1151 and more are all infinity", exponent_is_too_large},
    {"subnormal or normal: at the edge both give the same", grids_agree_at_the_edge},
    {"NaN: any bit below the infinity's lowest will do", any_lower_bit_makes_a_nan},
};

}  // namespace equivalent
}  // namespace sluice
