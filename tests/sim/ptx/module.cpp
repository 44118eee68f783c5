#include "tests/sim/ptx/module.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "tests/sim/ptx/decoder.hpp"
#include "tests/sim/ptx/lexer.hpp"

namespace sluice::sim::ptx {
namespace {

constexpr std::uint64_t parameter_bytes_max = 32'764;  // "Kernel Parameter Attributes", from PTX 8.1 on
constexpr std::uint64_t variable_bytes_max = 1 << 20;

/// `.align 8 .b8 name[40]`: a parameter or a variable.
struct Declaration {
  Token name;
  Type type;
  std::uint64_t align = 1;
  std::uint64_t count = 1;

  std::uint64_t bytes() const { return count * (type.bits / 8); }
};

class ModuleParser {
 public:
  explicit ModuleParser(std::string_view text) : lexer_(text) {}

  Module parse();

 private:
  void directive(const Token& word);
  void entry();
  void performance_directive(const Token& word, Kernel& kernel);
  void parameter(Kernel& kernel, Symbols& symbols);
  void variable();
  Declaration declaration(std::uint64_t bytes_max);
  void add_symbol(Symbols& symbols, const Token& name, std::uint64_t address);
  std::uint64_t positive(std::uint64_t limit);

  Lexer lexer_;
  Module module_;
  Symbols variables_;
  std::shared_ptr<Constants> constants_ = std::make_shared<Constants>();
};

std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

Module ModuleParser::parse() {
  while (!lexer_.peek().text.empty()) {
    directive(lexer_.next());
  }
  if (module_.version.empty() || module_.target.empty()) {
    throw Error(lexer_.peek().line, "no .version and .target");
  }
  return std::move(module_);
}

void ModuleParser::directive(const Token& word) {
  if (word.text == ".version") {
    module_.version = lexer_.word().text;
  } else if (word.text == ".target") {
    module_.target = lexer_.word().text;
    while (lexer_.accept(",")) {
      lexer_.word();
    }
  } else if (word.text == ".address_size") {
    if (lexer_.number() != 64) {
      throw Error(word.line, "addresses have 64 bits here");
    }
  } else if (word.text == ".file" || word.text == ".loc") {
    lexer_.skip_line();
  } else if (word.text == ".entry") {
    entry();
  } else if (word.text == ".const" || word.text == ".global") {
    variable();
  } else if (word.text != ".visible" && word.text != ".weak") {
    throw Error(word.line, fmt::format("unknown directive `{}`{}", word.text,
                                       reason_of_refusal(word.text.substr(word.text.starts_with('.') ? 1 : 0))));
  }
}

void ModuleParser::entry() {
  const Token name = lexer_.word();
  if (module_.kernel(name.text) != nullptr) {
    throw Error(name.line, fmt::format("a second kernel `{}`", name.text));
  }
  Kernel kernel;
  kernel.name = name.text;
  kernel.constants = constants_;
  Symbols symbols = variables_;
  if (lexer_.accept("(") && !lexer_.accept(")")) {
    do {
      parameter(kernel, symbols);
    } while (lexer_.accept(","));
    lexer_.expect(")");
  }
  while (lexer_.peek().text != "{") {
    performance_directive(lexer_.next(), kernel);
  }
  Decoder(lexer_, symbols, kernel).body();
  module_.kernels.push_back(std::move(kernel));
}

void ModuleParser::performance_directive(const Token& word, Kernel& kernel) {
  if (word.text == ".maxntid" || word.text == ".reqntid") {
    std::uint64_t threads = positive(1024);
    while (lexer_.accept(",")) {
      threads *= positive(1024);
    }
    kernel.threads_max = static_cast<std::uint32_t>(std::min<std::uint64_t>(threads, 1024));
    kernel.threads_exact = word.text == ".reqntid";
  } else if (word.text == ".minnctapersm" || word.text == ".maxnreg") {
    lexer_.number();
  } else {
    throw Error(word.line, fmt::format("unknown directive `{}` of a kernel", word.text));
  }
}

void ModuleParser::parameter(Kernel& kernel, Symbols& symbols) {
  lexer_.expect(".param");
  const Declaration found = declaration(parameter_bytes_max);
  const std::uint64_t offset = align_up(kernel.parameter_bytes, found.align);
  if (offset + found.bytes() > parameter_bytes_max) {
    throw Error(found.name.line, "too many parameters");
  }
  kernel.parameters.push_back(
      {std::string(found.name.text), static_cast<std::uint32_t>(offset), static_cast<std::uint32_t>(found.bytes())});
  kernel.parameter_bytes = static_cast<std::uint32_t>(offset + found.bytes());
  add_symbol(symbols, found.name, offset);
}

/// .const .align 4 .u32 table[3] = {1, 2};
void ModuleParser::variable() {
  const Declaration found = declaration(variable_bytes_max);
  const std::uint64_t offset = align_up(constants_->size(), found.align);
  constants_->resize(offset + found.bytes());
  add_symbol(variables_, found.name, constants_address + offset);
  if (!lexer_.accept("=")) {
    throw Error(found.name.line,
                fmt::format("`{}` has no value: the subset has constants, but no variables", found.name.text));
  }
  const bool braced = lexer_.accept("{");
  std::uint64_t i = 0;
  do {
    const std::uint32_t line = lexer_.peek().line;
    const std::uint64_t value = lexer_.number();
    if (i == found.count) {
      throw Error(line, fmt::format("too many values for `{}`", found.name.text));
    }
    const std::size_t bytes = found.type.bits / 8;
    std::memcpy(constants_->data() + offset + i * bytes, &value, bytes);
    ++i;
  } while (braced && lexer_.accept(","));
  if (braced) {
    lexer_.expect("}");
  }
  lexer_.expect(";");
}

Declaration ModuleParser::declaration(std::uint64_t bytes_max) {
  Declaration found;
  std::uint64_t align = 0;
  bool is_pointer = false;
  while (lexer_.peek().text.starts_with('.')) {
    const Token word = lexer_.next();
    if (word.text == ".align") {
      // What a pointer points to has an alignment of its own, which is of no interest here.
      const std::uint64_t value = positive(128);
      align = is_pointer ? align : value;
    } else if (word.text == ".ptr") {
      is_pointer = true;
    } else if (is_pointer && (word.text == ".global" || word.text == ".const")) {
      continue;
    } else if (const std::optional<Type> type = parse_type(word.text.substr(1)); type && type->bits >= 8) {
      found.type = *type;
    } else {
      throw Error(word.line, fmt::format("unknown directive `{}` of a declaration", word.text));
    }
  }
  found.name = lexer_.word();
  if (found.type.bits == 0) {
    throw Error(found.name.line, fmt::format("`{}` has no type", found.name.text));
  }
  if (lexer_.accept("[")) {
    found.count = positive(bytes_max);
    lexer_.expect("]");
  }
  if (found.bytes() > bytes_max) {
    throw Error(found.name.line, fmt::format("`{}` has more than {} bytes", found.name.text, bytes_max));
  }
  found.align = std::max<std::uint64_t>(align, found.type.bits / 8);
  if (!std::has_single_bit(found.align)) {
    throw Error(found.name.line, fmt::format("an alignment of {}", found.align));
  }
  return found;
}

void ModuleParser::add_symbol(Symbols& symbols, const Token& name, std::uint64_t address) {
  if (!symbols.emplace(name.text, address).second) {
    throw Error(name.line, fmt::format("`{}` is declared twice", name.text));
  }
}

std::uint64_t ModuleParser::positive(std::uint64_t limit) {
  const Token token = lexer_.peek();
  const std::uint64_t value = lexer_.number();
  if (value == 0 || value > limit) {
    throw Error(token.line, fmt::format("`{}` is not from 1 to {}", token.text, limit));
  }
  return value;
}

}  // namespace

const Kernel* Module::kernel(std::string_view name) const {
  const auto found = std::find_if(kernels.begin(), kernels.end(), [&](const Kernel& it) { return it.name == name; });
  return found == kernels.end() ? nullptr : &*found;
}

Module parse(std::string_view text) {
  return ModuleParser(text).parse();
}

}  // namespace sluice::sim::ptx
