// cast_stream FROM TO: casts the elements on standard input, writes them to standard output. For casts_check.py.
#include <fmt/format.h>

#include <cstddef>
#include <cstdio>
#include <optional>
#include <vector>

#include "loader/device/array_cast.hpp"

int main(int argc, char** argv) {
  using namespace sluice;
  const std::optional<Dtype> from = argc == 3 ? parse_dtype(argv[1]) : std::nullopt;
  const std::optional<Dtype> to = argc == 3 ? parse_dtype(argv[2]) : std::nullopt;
  if (!from || !to || !is_castable(*from) || !is_castable(*to)) {
    fmt::print(stderr, "usage: cast_stream FROM TO, two of F64 F32 F16 BF16 F8_E4M3 F8_E5M2\n");
    return 2;
  }
  constexpr std::size_t block = 1 << 16;
  std::vector<std::byte> source(block * bits(*from) / 8);
  std::vector<std::byte> target(block * bits(*to) / 8);
  while (const std::size_t count = std::fread(source.data(), bits(*from) / 8, block, stdin)) {
    cast_elements(*from, source.data(), *to, target.data(), count);
    if (std::fwrite(target.data(), bits(*to) / 8, count, stdout) != count) return 1;
  }
  return std::ferror(stdin) == 0 && std::fflush(stdout) == 0 ? 0 : 1;
}
