// Statement: one line of a rules file, parsed. Loops are lines, too: a `for` knows where its `end` is. Plain data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "loader/rules/expression.hpp"
#include "loader/rules/name_pattern.hpp"
#include "loader/rules/rules_text.hpp"
#include "loader/rules/scope.hpp"
#include "loader/rules/slice_text.hpp"
#include "sluice/destination.hpp"
#include "sluice/dtype.hpp"

namespace sluice::rules {

/// use config.json text_config optional
struct UseLine {
  std::string file;
  std::vector<std::string> keys;  // the object in the file, from the outermost in
  bool optional = false;
};

/// let E = num_experts / world, F = 768
struct LetLine {
  struct Variable {
    Symbol symbol = 0;
    Place place = 0;
    Expression value;
  };
  std::vector<Variable> variables;
};

/// strict
struct StrictLine {};

/// for l in 0 .. num_hidden_layers
struct ForLine {
  Symbol symbol = 0;
  Expression begin;
  Expression end;
  std::size_t behind = 0;  // the number of the statement behind its `end`
};

/// end
struct EndLine {};

/// tensor layers.{l}.qkv BF16 [q + 2 * kv, H] group l + 1
struct TensorLine {
  NamePattern name;
  Dtype dtype = Dtype::u8;
  std::vector<Expression> shape;
  std::optional<Expression> group;
  std::optional<Expression> when;
  std::optional<NamePattern> device;
  Destination::Unwritten unwritten = Destination::Unwritten::refused;
};

/// lm_head.weight | model.embed_tokens.weight[part rank of world] cast F32 when rank == 0 -> head[0:n]
struct RuleLine {
  std::vector<NamePattern> names;  // the first that the checkpoint has counts
  SliceText from;
  std::optional<NamePattern> destination;
  SliceText into;
  std::optional<Dtype> cast;
  std::optional<Expression> group;
  std::optional<Expression> when;
  std::optional<NamePattern> device;
  bool skip = false;
  bool optional = false;
};

struct Statement {
  Place place = 0;
  std::variant<UseLine, LetLine, StrictLine, ForLine, EndLine, TensorLine, RuleLine> line;
};

}  // namespace sluice::rules
