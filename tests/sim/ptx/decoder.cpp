#include "tests/sim/ptx/decoder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <unordered_map>
#include <utility>

namespace sluice::sim::ptx {
namespace {

template <typename... Arguments>
[[noreturn]] void refuse(const Token& token, fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  throw Error(token.line, fmt::format(format, std::forward<Arguments>(arguments)...));
}

/// What caches and prefetchers are told; it changes no result.
bool is_cache_hint(std::string_view modifier) {
  static constexpr std::string_view hints[] = {"ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc", "weak"};
  return std::find(std::begin(hints), std::end(hints), modifier) != std::end(hints) ||
         modifier.starts_with("L1::evict_") || modifier == "L1::no_allocate" || modifier.starts_with("L2::evict_") ||
         modifier == "L2::64B" || modifier == "L2::128B" || modifier == "L2::256B";
}

}  // namespace

bool Opcode::take(std::string_view modifier) {
  const auto found = std::find(modifiers.begin(), modifiers.end(), modifier);
  const bool there = found != modifiers.end();
  if (there) {
    modifiers.erase(found);
  }
  return there;
}

Decoder::Decoder(Lexer& lexer, const Symbols& symbols, Kernel& kernel)
    : lexer_(lexer), symbols_(symbols), kernel_(kernel), registers_(kernel) {}

void Decoder::body() {
  do {
    statement();
  } while (registers_.in_scope());
  emit(finish(), {});  // a text may end without ret
  resolve_labels();
}

void Decoder::statement() {
  line_ = lexer_.peek().line;
  if (!registers_.in_scope() || lexer_.peek().text == "{") {
    lexer_.expect("{");
    registers_.open_scope();
  } else if (lexer_.accept("}")) {
    registers_.close_scope();
  } else if (lexer_.peek().text.starts_with('.')) {
    directive(lexer_.next());
  } else if (lexer_.peek_second() == ":") {
    label(lexer_.word());
  } else {
    instruction();
  }
  if (kernel_.slots.size() > std::numeric_limits<std::uint16_t>::max()) {
    throw Error(line_, "too many registers and literals");
  }
}

void Decoder::label(const Token& name) {
  lexer_.expect(":");
  if (!labels_.emplace(name.text, kernel_.code.size()).second) {
    refuse(name, "a second label `{}`", name.text);
  }
}

void Decoder::directive(const Token& word) {
  if (word.text == ".reg") {
    declare_registers();
  } else if (word.text == ".loc" || word.text == ".file") {
    lexer_.skip_line();
  } else if (word.text == ".pragma") {  // advice on unrolling and the like
    while (!lexer_.accept(";")) {
      lexer_.next();
    }
  } else {
    refuse(word, "unknown directive `{}`{}", word.text, reason_of_refusal(word.text.substr(1)));
  }
}

/// .reg .b32 %r<4>, %x;
void Decoder::declare_registers() {
  const Token type_name = lexer_.word();
  const std::optional<Type> type = parse_type(type_name.text.substr(1));
  if (!type) {
    refuse(type_name, "no registers of type `{}`", type_name.text);
  }
  do {
    const Token name = lexer_.word();
    bool fresh = false;
    if (lexer_.accept("<")) {
      fresh = registers_.declare_family(name.text, type->bits, lexer_.number());
      lexer_.expect(">");
    } else {
      fresh = registers_.declare(name.text, type->bits);
    }
    if (!fresh) {
      refuse(name, "`{}` is declared twice", name.text);
    }
  } while (lexer_.accept(","));
  lexer_.expect(";");
}

void Decoder::instruction() {
  std::optional<Guard> guard;
  if (lexer_.accept("@")) {
    const bool wanted = !lexer_.accept("!");
    guard = Guard{source(1), wanted};
  }
  Opcode operation = opcode();
  if (operation.name == "bra") {
    branch(operation, guard);
  } else if (guard) {
    const std::size_t at = kernel_.code.size();
    emit(branch_if(!guard->wanted), {guard->predicate});
    dispatch(operation);
    kernel_.code[at].offset = static_cast<std::int64_t>(kernel_.code.size() - at);
  } else {
    dispatch(operation);
  }
  lexer_.expect(";");
}

void Decoder::resolve_labels() {
  for (const Label& jump : jumps_) {
    const auto label = labels_.find(jump.name.text);
    if (label == labels_.end()) {
      refuse(jump.name, "no label `{}`", jump.name.text);
    }
    kernel_.code[jump.instruction].offset =
        static_cast<std::int64_t>(label->second) - static_cast<std::int64_t>(jump.instruction);
  }
}

void Decoder::dispatch(Opcode& opcode) {
  using Member = void (Decoder::*)(Opcode&);
  static const std::unordered_map<std::string_view, Member> members = {
      {"ld", &Decoder::load}, {"st", &Decoder::store},  {"mov", &Decoder::mov},
      {"cvt", &Decoder::cvt}, {"setp", &Decoder::setp}, {"selp", &Decoder::selp},
  };
  static const std::unordered_map<std::string_view, Execute> endings = {
      {"ret", finish()}, {"exit", finish()}, {"trap", trap()}};
  if (const auto member = members.find(opcode.name); member != members.end()) {
    return (this->*member->second)(opcode);
  }
  if (const auto ending = endings.find(opcode.name); ending != endings.end()) {
    opcode.take("uni");
    no_more_modifiers(opcode);
    emit(ending->second, {});
    return;
  }
  tabled(opcode);
}

void Decoder::branch(Opcode& opcode, const std::optional<Guard>& guard) {
  opcode.take("uni");
  no_more_modifiers(opcode);
  jumps_.push_back({lexer_.word(), kernel_.code.size()});
  if (guard) {
    emit(branch_if(guard->wanted), {guard->predicate});
  } else {
    emit(ptx::branch(), {});
  }
}

void Decoder::load(Opcode& opcode) {
  const bool of_parameters = opcode.take("param") || opcode.take("param::entry");
  if (!of_parameters && !opcode.take("global")) {
    opcode.take("const");
  }
  drop_cache_hints(opcode);
  const Type type = only_type(opcode);
  const unsigned count = take_vector(opcode, type.bits);
  no_more_modifiers(opcode);
  Slots slots = targets(count, type.bits, Width::at_least);
  lexer_.expect(",");
  const Address from = address();
  slots.push_back(from.base);
  emit(of_parameters ? load_parameter(type.bits, count) : ptx::load(type.bits, count), slots, from.offset);
  for (unsigned i = 0; i < count; ++i) {
    extend_sign(slots[i], type);
  }
}

void Decoder::store(Opcode& opcode) {
  opcode.take("global");
  drop_cache_hints(opcode);
  const Type type = only_type(opcode);
  const unsigned count = take_vector(opcode, type.bits);
  no_more_modifiers(opcode);
  const Address to = address();
  lexer_.expect(",");
  Slots slots = sources(count, type.bits, Width::at_least);
  slots.insert(slots.begin(), to.base);
  emit(ptx::store(type.bits, count), slots, to.offset);
}

/// mov d, a;  mov d, {a, b};  mov {a, b}, d;
void Decoder::mov(Opcode& opcode) {
  const Type type = only_type(opcode);
  no_more_modifiers(opcode);
  const auto parts = [&] {
    const unsigned count = lexer_.list_length();
    if (count != 2 && count != 4) {
      refuse(opcode.token, "`{}` of {} parts", opcode.token.text, count);
    }
    return count;
  };
  if (lexer_.peek().text == "{") {
    const unsigned count = parts();
    Slots slots = targets(count, type.bits / count, Width::exact);
    lexer_.expect(",");
    slots.push_back(source(type.bits));
    emit(unpack(type.bits / count, count), slots);
    return;
  }
  const std::uint16_t to = target(type.bits);
  lexer_.expect(",");
  if (lexer_.peek().text == "{") {
    const unsigned count = parts();
    Slots slots = sources(count, type.bits / count, Width::exact);
    slots.insert(slots.begin(), to);
    emit(pack(type.bits / count, count), slots);
  } else {
    emit(move(), {to, source(type.bits)});
  }
}

void Decoder::cvt(Opcode& opcode) {
  const bool saturate = opcode.take("sat");
  no_more_modifiers(opcode);
  if (opcode.types.size() != 2) {
    refuse(opcode.token, "`{}` has {} types where 2 belong", opcode.token.text, opcode.types.size());
  }
  const Type to = opcode.types[0];
  const Type from = opcode.types[1];
  const Execute execute = conversion(to, from, saturate);
  if (execute == nullptr) {
    refuse(opcode.token, "`{}`: only integers are converted", opcode.token.text);
  }
  const std::uint16_t d = target(to.bits, Width::at_least);
  lexer_.expect(",");
  emit(execute, {d, source(from.bits, Width::at_least)});
  extend_sign(d, to);
}

/// setp.lt.and p|q, a, b, !c: p = (a < b) and !c, q = !(a < b) and !c; all but p, a and b may be missing.
void Decoder::setp(Opcode& opcode) {
  std::string_view combination;
  for (const std::string_view candidate : {"and", "or", "xor"}) {
    combination = opcode.take(candidate) ? candidate : combination;
  }
  Code compare;
  const Type type = only_type(opcode);
  operation(opcode, fmt::format("setp.{}", fmt::join(opcode.modifiers, ".")), type, &compare);
  const std::uint16_t p = target(1);
  const bool both = lexer_.accept("|");
  const std::uint16_t q = both ? target(1) : slot_sink;
  lexer_.expect(",");
  const std::uint16_t a = source(type.bits);
  lexer_.expect(",");
  const std::uint16_t b = source(type.bits);
  if (!both && combination.empty()) {
    emit(compare.execute, {p, a, b});
    return;
  }
  const Type predicate = {'p', 1};
  const std::uint16_t yes = slot_scratch;
  const std::uint16_t no = slot_scratch + 1;
  const std::uint16_t inverse = slot_scratch + 2;
  const Execute negate = operation(opcode, "not", predicate);
  emit(compare.execute, {yes, a, b});
  emit(negate, {no, yes});
  if (!combination.empty()) {
    lexer_.expect(",");
    const bool inverted = lexer_.accept("!");
    std::uint16_t c = source(1);
    if (inverted) {
      emit(negate, {inverse, c});
      c = inverse;
    }
    const Execute combine = operation(opcode, std::string(combination), predicate);
    emit(combine, {yes, yes, c});
    emit(combine, {no, no, c});
  }
  emit(move(), {p, yes});
  emit(move(), {q, no});
}

void Decoder::selp(Opcode& opcode) {
  const Type type = only_type(opcode);
  no_more_modifiers(opcode);
  Slots slots = {target(type.bits)};
  for (const unsigned bits : {unsigned{type.bits}, unsigned{type.bits}, 1u}) {
    lexer_.expect(",");
    slots.push_back(source(bits));
  }
  emit(select(), slots);
}

/// Whatever is a function of registers: the table knows it.
void Decoder::tabled(Opcode& opcode) {
  if (opcode.name == "slct" && opcode.types.size() == 2 && opcode.types[1].kind == 's' && opcode.types[1].bits == 32) {
    opcode.types.pop_back();  // that of c; the function has it
  }
  std::string spelling(opcode.name);
  for (const std::string_view modifier : opcode.modifiers) {
    spelling.append(".").append(modifier);
  }
  Code code;
  operation(opcode, spelling, opcode.types.size() == 1 ? opcode.types[0] : Type{}, &code);
  Slots slots = {target(code.bits[0])};
  for (unsigned i = 1; i < code.operands; ++i) {
    lexer_.expect(",");
    slots.push_back(source(code.bits[i]));
  }
  emit(code.execute, slots);
}

// --- opcodes ---------------------------------------------------------------------------------------------------------

Opcode Decoder::opcode() {
  Opcode opcode;
  opcode.token = lexer_.word();
  std::string_view rest = opcode.token.text;
  for (bool first = true; !rest.empty(); first = false) {
    const std::size_t length = std::min(rest.find('.'), rest.size());
    const std::string_view part = rest.substr(0, length);
    rest.remove_prefix(std::min(length + 1, rest.size()));
    if (first) {
      opcode.name = part;
    } else if (const std::optional<Type> type = parse_type(part)) {
      opcode.types.push_back(*type);
    } else {
      opcode.modifiers.push_back(part);
    }
  }
  return opcode;
}

Type Decoder::only_type(const Opcode& opcode) const {
  if (opcode.types.size() != 1) {
    refuse(opcode.token, "`{}` has {} types where 1 belongs", opcode.token.text, opcode.types.size());
  }
  return opcode.types[0];
}

void Decoder::no_more_modifiers(const Opcode& opcode) const {
  if (!opcode.modifiers.empty()) {
    refuse(opcode.token, "unknown modifier `.{}` of `{}`{}", opcode.modifiers[0], opcode.token.text,
           reason_of_refusal(opcode.modifiers[0]));
  }
}

void Decoder::drop_cache_hints(Opcode& opcode) {
  std::erase_if(opcode.modifiers, is_cache_hint);
}

unsigned Decoder::take_vector(Opcode& opcode, unsigned bits) {
  const unsigned count = opcode.take("v4") ? 4 : opcode.take("v2") ? 2 : 1;
  if (bits < 8 || bits * count > 128) {
    refuse(opcode.token, "`{}`: no access of {} bits", opcode.token.text, bits * count);
  }
  return count;
}

Execute Decoder::operation(const Opcode& opcode, const std::string& spelling, Type type, Code* code) const {
  Code found;
  switch (find_operation(spelling, type, &found)) {
    case Lookup::unknown_operation:
      refuse(opcode.token, "unknown operation `{}`{}", opcode.token.text, reason_of_refusal(opcode.name));
    case Lookup::unknown_modifier:
      for (const std::string_view modifier : opcode.modifiers) {
        if (const std::string reason = reason_of_refusal(modifier); !reason.empty()) {
          refuse(opcode.token, "unknown modifier of `{}`{}", opcode.token.text, reason);
        }
      }
      refuse(opcode.token, "unknown modifier of `{}`", opcode.token.text);
    case Lookup::wrong_type:
      refuse(opcode.token, "`{}`: not of this type", opcode.token.text);
    case Lookup::found:
      break;
  }
  if (code != nullptr) {
    *code = found;
  }
  return found.execute;
}

// --- operands --------------------------------------------------------------------------------------------------------

std::uint16_t Decoder::target(unsigned bits, Width width) {
  const Token name = lexer_.word();
  if (name.text == "_") {
    return slot_sink;
  }
  const std::optional<std::uint16_t> slot = registers_.find(name.text);
  if (!slot || *slot < slots_reserved) {
    refuse(name, "`{}` is no register to write to", name.text);
  }
  return check_width(name, *slot, bits, width);
}

std::uint16_t Decoder::source(unsigned bits, Width width) {
  const Token name = lexer_.peek();
  if (lexer_.at_number()) {
    return literal(name, lexer_.number(), bits);
  }
  lexer_.word();
  if (const std::optional<std::uint16_t> slot = registers_.find(name.text)) {
    return check_width(name, *slot, bits, width);
  }
  if (const auto symbol = symbols_.find(name.text); symbol != symbols_.end()) {
    return literal(name, symbol->second, bits);
  }
  refuse(name, "unknown operand `{}`", name.text);
}

Decoder::Slots Decoder::targets(unsigned count, unsigned bits, Width width) {
  return list(count, [&] { return target(bits, width); });
}

Decoder::Slots Decoder::sources(unsigned count, unsigned bits, Width width) {
  return list(count, [&] { return source(bits, width); });
}

/// {a, b} or, where it is only one, a.
template <typename Operand>
Decoder::Slots Decoder::list(unsigned count, Operand operand) {
  if (count == 1) {
    return {operand()};
  }
  lexer_.expect("{");
  Slots slots = {operand()};
  for (unsigned i = 1; i < count; ++i) {
    lexer_.expect(",");
    slots.push_back(operand());
  }
  lexer_.expect("}");
  return slots;
}

/// [%rd1], [%rd1+-8], [name+4], [4096]
Decoder::Address Decoder::address() {
  lexer_.expect("[");
  Address address = {source(64), 0};
  if (lexer_.accept("+") || lexer_.at_number()) {
    address.offset = static_cast<std::int64_t>(lexer_.number());
  }
  lexer_.expect("]");
  return address;
}

std::uint16_t Decoder::literal(const Token& token, std::uint64_t value, unsigned bits) {
  const std::uint64_t mask = bits < 64 ? (std::uint64_t{1} << bits) - 1 : ~std::uint64_t{0};
  const bool fits_signed = (value | (mask >> 1)) == ~std::uint64_t{0};
  if (value > mask && !fits_signed) {
    refuse(token, "`{}` does not fit into {} bits", token.text, bits);
  }
  return registers_.literal(value & mask);
}

std::uint16_t Decoder::check_width(const Token& token, std::uint16_t slot, unsigned bits, Width width) const {
  const unsigned has = registers_.bits(slot);
  if (width == Width::exact ? has != bits : has < bits) {
    refuse(token, "`{}` has {} bits where {} belong", token.text, has, bits);
  }
  return slot;
}

// --- code ------------------------------------------------------------------------------------------------------------

void Decoder::emit(Execute execute, const Slots& slots, std::int64_t offset) {
  Instruction instruction = {execute, offset, {}, line_};
  std::copy(slots.begin(), slots.end(), instruction.slots.begin());
  kernel_.code.push_back(instruction);
}

/// "The destination is sign-extended to its width" when a signed number is loaded or converted into a wider register.
void Decoder::extend_sign(std::uint16_t slot, Type type) {
  const unsigned bits = registers_.bits(slot);
  if (type.kind == 's' && bits > type.bits) {
    emit(conversion({'s', static_cast<std::uint8_t>(bits)}, type, false), {slot, slot});
  }
}

}  // namespace sluice::sim::ptx
