#include "tests/sim/ptx/registers.hpp"

#include <fmt/format.h>

#include <charconv>

namespace sluice::sim::ptx {

Registers::Registers(Kernel& kernel) : kernel_(kernel) {
  for (const char* name : {"%tid", "%ntid", "%ctaid", "%nctaid"}) {
    for (const char* axis : {".x", ".y", ".z"}) {
      const std::string whole = fmt::format("{}{}", name, axis);
      members_[whole] = add(whole, 32, 0);
    }
  }
  add("the carry", 1, poison);
  add("_", 64, 0);
  while (bits_.size() < slots_reserved) {
    add("a scratch slot", 64, poison);
  }
}

bool Registers::declare(std::string_view name, unsigned bits) {
  const auto [place, fresh] = scopes_.back().emplace(name, 0);
  if (fresh) {
    place->second = add(std::string(name), bits, poison);
  }
  return fresh;
}

bool Registers::declare_family(std::string_view prefix, unsigned bits, std::uint64_t count) {
  return families_.emplace(prefix, std::pair(bits, count)).second;
}

std::optional<std::uint16_t> Registers::find(std::string_view name) {
  for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
    if (const auto known = scope->find(name); known != scope->end()) {
      return known->second;
    }
  }
  if (const auto known = members_.find(name); known != members_.end()) {
    return known->second;
  }
  const std::size_t digits = name.find_last_not_of("0123456789") + 1;
  const auto family = families_.find(name.substr(0, digits));
  std::uint64_t number = 0;
  const auto [end, problem] = std::from_chars(name.data() + digits, name.data() + name.size(), number);
  if (family == families_.end() || problem != std::errc() || number >= family->second.second) {
    return std::nullopt;
  }
  return members_.emplace(name, add(std::string(name), family->second.first, poison)).first->second;
}

std::uint16_t Registers::literal(std::uint64_t value) {
  const auto [place, fresh] = literals_.emplace(value, 0);
  if (fresh) {
    place->second = add("a literal", 64, value);
  }
  return place->second;
}

std::uint16_t Registers::add(std::string name, unsigned bits, std::uint64_t value) {
  bits_.push_back(static_cast<std::uint8_t>(bits));
  kernel_.slot_names.push_back(std::move(name));
  kernel_.slots.push_back(value);
  return static_cast<std::uint16_t>(kernel_.slots.size() - 1);  // more than fit are the decoder's to refuse
}

}  // namespace sluice::sim::ptx
