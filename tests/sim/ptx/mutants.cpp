#include "tests/sim/ptx/mutants.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <span>

#include "tests/sim/ptx/lexer.hpp"
#include "tests/sim/ptx/operations.hpp"

namespace sluice::sim::ptx {
namespace {

using Names = std::multimap<std::string_view, std::string_view>;

// What the operation becomes, and what a modifier of it: by "operation" and "operation.modifier".
const Names& operations() {
  static const Names names = {{"add", "sub"}, {"sub", "add"},  {"and", "or"},  {"or", "and"},  {"or", "xor"},
                              {"xor", "or"},  {"min", "max"},  {"max", "min"}, {"div", "rem"}, {"rem", "div"},
                              {"shl", "shr"}, {"not", "cnot"}, {"clz", "popc"}};
  return names;
}

const Names& modifiers() {
  static const Names names = {{"setp.lt", "le"}, {"setp.lt", "ge"}, {"setp.le", "lt"},     {"setp.le", "gt"},
                              {"setp.gt", "ge"}, {"setp.gt", "le"}, {"setp.ge", "gt"},     {"setp.ge", "lt"},
                              {"setp.eq", "ne"}, {"setp.ne", "eq"}, {"setp.and", "or"},    {"setp.or", "and"},
                              {"shf.l", "r"},    {"shf.r", "l"},    {"shf.wrap", "clamp"}, {"mul.lo", "hi"},
                              {"mad.lo", "hi"}};
  return names;
}

/// Where the sign changes the result.
bool minds_sign(std::string_view operation, const std::vector<std::string_view>& parts) {
  static constexpr std::string_view ordered[] = {"lt", "le", "gt", "ge"};
  if (operation == "setp") {
    return std::find_first_of(parts.begin(), parts.end(), std::begin(ordered), std::end(ordered)) != parts.end();
  }
  if (operation == "mul" || operation == "mad") {
    return std::find(parts.begin(), parts.end(), "lo") == parts.end();
  }
  static constexpr std::string_view others[] = {"shr", "min", "max", "div", "rem", "bfe"};
  return std::find(std::begin(others), std::end(others), operation) != std::end(others);
}

std::vector<std::string_view> split(std::string_view word) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t dot = word.find('.');
    parts.push_back(word.substr(0, dot));
    if (dot == std::string_view::npos) {
      return parts;
    }
    word.remove_prefix(dot + 1);
  }
}

/// From a guard, if there is one, to the semicolon.
struct Statement {
  std::span<const Token> tokens;
  std::size_t opcode = 0;  // its token
  std::vector<std::string_view> parts;
  unsigned bits = 0;  // of its first type
  unsigned access_bytes = 0;

  const Token& token(std::size_t i) const { return tokens[i]; }
};

class Finder {
 public:
  explicit Finder(std::string_view text) : text_(text) {
    Lexer lexer(text);
    while (!lexer.peek().text.empty()) {
      tokens_.push_back(lexer.next());
    }
  }

  std::vector<Mutation> find();

 private:
  void visit(Statement statement);
  void opcodes(const Statement& statement);
  void guards(const Statement& statement);
  void numbers(const Statement& statement);
  void number(const Statement& statement, std::size_t first, std::size_t last, bool in_address);
  void operands(const Statement& statement);

  void replace(const Token& first, const Token& last, std::string replacement);

  std::string_view text_;
  std::vector<Token> tokens_;
  std::vector<Mutation> found_;
};

/// In the braces of kernels, statements end with semicolons, but for labels; directives are left as they are.
std::vector<Mutation> Finder::find() {
  int depth = 0;
  bool entry = false;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    const std::string_view text = tokens_[i].text;
    if (depth == 0) {
      entry |= text == ".entry";
      if (entry && text == "{") {
        entry = false;
        depth = 1;
        begin = i + 1;
      }
    } else if (i == begin && (text == "{" || text == "}")) {
      depth += text == "{" ? 1 : -1;
      begin = i + 1;
    } else if (text == ":") {
      begin = i + 1;
    } else if (text == ";") {
      const std::span<const Token> tokens(&tokens_[begin], i + 1 - begin);
      begin = i + 1;
      if (!tokens[0].text.starts_with('.')) {
        visit({tokens, 0, {}, 0, 0});
      }
    }
  }
  return std::move(found_);
}

void Finder::visit(Statement statement) {
  if (statement.token(0).text == "@") {
    statement.opcode = statement.token(1).text == "!" ? 3 : 2;
  }
  statement.parts = split(statement.token(statement.opcode).text);
  unsigned count = 1;
  for (const std::string_view part : statement.parts) {
    const std::optional<Type> type = parse_type(part);
    statement.bits = type && statement.bits == 0 ? type->bits : statement.bits;
    count = part == "v2" ? 2 : part == "v4" ? 4 : count;
  }
  statement.access_bytes = statement.bits * count / 8;
  guards(statement);
  opcodes(statement);
  numbers(statement);
  operands(statement);
}

void Finder::guards(const Statement& statement) {
  const Token& at = statement.token(0);
  const std::string_view operation = statement.parts[0];
  if (statement.opcode != 0) {
    const Token& predicate = statement.token(statement.opcode - 1);
    replace(at, predicate, "");
    replace(at, predicate, fmt::format("@{}{}", statement.opcode == 2 ? "!" : "", predicate.text));
  }
  if (operation == "st" || operation == "bra") {
    replace(at, statement.tokens.back(), "");
  }
}

void Finder::opcodes(const Statement& statement) {
  const Token& token = statement.token(statement.opcode);
  const auto& parts = statement.parts;
  const auto with = [&](std::size_t i, const std::string& part) {
    std::vector<std::string> changed(parts.begin(), parts.end());
    changed[i] = part;
    replace(token, token, fmt::format("{}", fmt::join(changed, ".")));
  };
  for (auto [name, end] = operations().equal_range(parts[0]); name != end; ++name) {
    // cnot and popc have no predicates, and no 16 bits, to work on.
    if (statement.bits >= 32 || (name->second != "cnot" && name->second != "popc")) {
      with(0, std::string(name->second));
    }
  }
  if (parts[0] == "shr") {
    replace(token, token, fmt::format("shl.b{}", statement.bits));
  }
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const std::string key = fmt::format("{}.{}", parts[0], parts[i]);
    for (auto [name, end] = modifiers().equal_range(key); name != end; ++name) {
      with(i, std::string(name->second));
    }
    const bool is_sign = parse_type(parts[i]) && (parts[i][0] == 'u' || parts[i][0] == 's');
    // Of a conversion, the last type says how its source is extended.
    if (is_sign && (minds_sign(parts[0], parts) || (parts[0] == "cvt" && i + 1 == parts.size()))) {
      with(i, fmt::format("{}{}", parts[i][0] == 'u' ? 's' : 'u', parts[i].substr(1)));
    }
  }
}

void Finder::numbers(const Statement& statement) {
  bool in_address = false;
  for (std::size_t i = statement.opcode + 1; i < statement.tokens.size(); ++i) {
    const std::string_view text = statement.token(i).text;
    in_address = text == "[" || (in_address && text != "]");
    const bool of_parameters = statement.parts.size() > 1 && statement.parts[1].starts_with("param");
    if (text == "]" && statement.token(i - 2).text == "[" && !of_parameters) {
      const Token& base = statement.token(i - 1);
      replace(base, base, fmt::format("{}+{}", base.text, statement.access_bytes));
      replace(base, base, fmt::format("{}+-{}", base.text, statement.access_bytes));
    } else if (text[0] >= '0' && text[0] <= '9' && !text.starts_with("0f") && !text.starts_with("0d")) {
      const std::size_t first = statement.token(i - 1).text == "-" ? i - 1 : i;
      number(statement, first, i, in_address);
    }
  }
}

void Finder::number(const Statement& statement, std::size_t first, std::size_t last, bool in_address) {
  const Token& begin = statement.token(first);
  const Token& end = statement.token(last);
  const auto length = static_cast<std::size_t>(end.text.data() + end.text.size() - begin.text.data());
  const std::uint64_t value = Lexer({begin.text.data(), length}).number();
  const unsigned step = in_address ? statement.access_bytes : 1;
  const unsigned bits = in_address ? 64 : statement.bits;
  // [%rd1-8], whose minus is all that parts the two, or [%rd1+-8].
  const char* plus = in_address && first != last && statement.token(first - 1).text != "+" ? "+" : "";
  const auto is_negative = [](std::uint64_t number) { return static_cast<std::int64_t>(number) < 0; };
  for (const std::uint64_t changed : {value + step, value - step}) {
    // It has to fit as the first one did; predicates have no number next to theirs.
    const std::uint64_t magnitude = is_negative(changed) ? ~changed << 1 : changed;
    if (bits >= 8 && (bits == 64 || magnitude >> bits == 0)) {
      replace(begin, end, is_negative(changed) ? fmt::format("-{}", 0 - changed) : fmt::format("{}{}", plus, changed));
    }
  }
}

/// The first two sources, where their order matters.
void Finder::operands(const Statement& statement) {
  static constexpr std::string_view ordered[] = {"sub", "selp", "shf", "prmt", "div", "rem", "slct"};
  if (std::find(std::begin(ordered), std::end(ordered), statement.parts[0]) == std::end(ordered)) {
    return;
  }
  // d , a , b , ... where a and b may have a sign of their own
  std::vector<std::size_t> commas;
  for (std::size_t i = statement.opcode; i < statement.tokens.size(); ++i) {
    if (statement.token(i).text == "," || statement.token(i).text == ";") {
      commas.push_back(i);
    }
  }
  const auto operand = [&](std::size_t i) {
    const Token& first = statement.token(commas[i] + 1);
    const Token& last = statement.token(commas[i + 1] - 1);
    return std::string(first.text.data(), last.text.data() + last.text.size());
  };
  if (commas.size() >= 3 && operand(0) != operand(1)) {
    replace(statement.token(commas[0] + 1), statement.token(commas[2] - 1),
            fmt::format("{}, {}", operand(1), operand(0)));
  }
}

void Finder::replace(const Token& first, const Token& last, std::string replacement) {
  const auto offset = static_cast<std::size_t>(first.text.data() - text_.data());
  const auto bytes = static_cast<std::size_t>(last.text.data() + last.text.size() - first.text.data());
  const std::string_view old = text_.substr(offset, bytes);
  std::string description = replacement.empty()
                                ? fmt::format("line {}: `{}` is gone", first.line, old)
                                : fmt::format("line {}: `{}` becomes `{}`", first.line, old, replacement);
  found_.push_back({offset, bytes, std::move(replacement), first.line, std::move(description)});
}

}  // namespace

std::vector<Mutation> mutations(std::string_view text, std::uint64_t seed) {
  std::vector<Mutation> found = Finder(text).find();
  if (seed != 0) {
    std::mt19937_64 random(seed);
    std::shuffle(found.begin(), found.end(), random);
  }
  return found;
}

std::string mutate(std::string_view text, const Mutation& mutation) {
  std::string mutated(text.substr(0, mutation.offset));
  mutated.append(mutation.replacement).append(text.substr(mutation.offset + mutation.bytes));
  return mutated;
}

}  // namespace sluice::sim::ptx
