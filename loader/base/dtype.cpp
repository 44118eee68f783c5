#include "sluice/dtype.hpp"

#include <array>
#include <cstddef>

namespace sluice {
namespace {

struct Row {
  std::string_view name;
  std::uint8_t bits;
  std::uint8_t alignment;
  bool castable;
};

// In the order of the enumeration.
constexpr std::array<Row, dtype_count> rows{{
    {"BOOL", 8, 1, false},    {"U8", 8, 1, false},          {"I8", 8, 1, false},          {"U16", 16, 2, false},
    {"I16", 16, 2, false},    {"U32", 32, 4, false},        {"I32", 32, 4, false},        {"U64", 64, 8, false},
    {"I64", 64, 8, false},    {"F16", 16, 2, true},         {"BF16", 16, 2, true},        {"F32", 32, 4, true},
    {"F64", 64, 8, true},     {"C64", 64, 4, false},        {"F8_E4M3", 8, 1, true},      {"F8_E5M2", 8, 1, true},
    {"F8_E8M0", 8, 1, false}, {"F8_E4M3FNUZ", 8, 1, false}, {"F8_E5M2FNUZ", 8, 1, false}, {"F6_E2M3", 6, 1, false},
    {"F6_E3M2", 6, 1, false}, {"F4", 4, 1, false},
}};
static_assert(rows[static_cast<std::size_t>(Dtype::c64)].name == "C64");
static_assert(rows[static_cast<std::size_t>(Dtype::f4)].name == "F4");

constexpr const Row& row(Dtype dtype) noexcept {
  return rows[static_cast<std::size_t>(dtype)];
}

}  // namespace

std::string_view name(Dtype dtype) noexcept {
  return row(dtype).name;
}

std::optional<Dtype> parse_dtype(std::string_view name) noexcept {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].name == name) return static_cast<Dtype>(i);
  }
  return std::nullopt;
}

unsigned bits(Dtype dtype) noexcept {
  return row(dtype).bits;
}

unsigned natural_alignment(Dtype dtype) noexcept {
  return row(dtype).alignment;
}

bool is_castable(Dtype dtype) noexcept {
  return row(dtype).castable;
}

}  // namespace sluice
