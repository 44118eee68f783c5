// Rounding to multiples of an alignment, which is a power of two.
#pragma once

#include <cstdint>

namespace sluice {

constexpr std::uint64_t align_down(std::uint64_t value, std::uint64_t alignment) noexcept {
  return value & ~(alignment - 1);
}
constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) noexcept {
  return align_down(value + alignment - 1, alignment);
}

}  // namespace sluice
