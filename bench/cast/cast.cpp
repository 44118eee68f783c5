// What does a cast cost beside a copy, on one core? GB of source a second for every pair of dtypes, memcpy among them;
// once within the second-level cache, once through memory, as from slabs into an arena. The median of nine interleaved
// rounds counts; results are compared with casts.hpp first.
// Sketch on paper: 20 to 40 instructions for 8 to 32 elements, 0.03 to 0.4 ns an element.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "loader/device/array_cast.hpp"
#include "tests/loader/support/scalar_cast.hpp"

namespace sluice {
namespace {

constexpr int rounds = 9;
constexpr std::size_t dtypes = castable_dtypes.size();

// How one pass walks: `elements` in all, in a ring of `source_bytes` and one of `target_bytes`.
struct Walk {
  const char* name;
  std::size_t elements;
  std::size_t source_bytes;
  std::size_t target_bytes;
};

constexpr Walk in_cache{"within the cache", std::size_t{1} << 21, 64 << 10, 64 << 10};
constexpr Walk in_memory{"through memory", std::size_t{1} << 23, 64 << 20, 256 << 20};

struct Buffers {
  std::vector<unsigned char> source;
  std::vector<unsigned char> target;
};

double seconds_of_pass(const Walk& walk, Dtype from, Dtype to, Buffers& buffers) {
  const std::size_t source_size = bits(from) / 8;
  const std::size_t target_size = bits(to) / 8;
  const std::size_t step = std::min(walk.source_bytes / source_size, std::size_t{8} << 10);
  std::size_t source_at = 0;
  std::size_t target_at = 0;
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t done = 0; done < walk.elements; done += step) {
    if (source_at + step * source_size > walk.source_bytes) source_at = 0;
    if (target_at + step * target_size > walk.target_bytes) target_at = 0;
    cast_elements(from, &buffers.source[source_at], to, &buffers.target[target_at], step);
    source_at += step * source_size;
    target_at += step * target_size;
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// What is wrong is not worth timing.
void check(Dtype from, Dtype to, Buffers& buffers) {
  constexpr std::size_t count = 4096;
  cast_elements(from, buffers.source.data(), to, buffers.target.data(), count);
  for (std::size_t i = 0; i < count; ++i) {
    std::uint64_t element = 0;
    std::uint64_t actual = 0;
    std::memcpy(&element, &buffers.source[i * bits(from) / 8], bits(from) / 8);
    std::memcpy(&actual, &buffers.target[i * bits(to) / 8], bits(to) / 8);
    if (actual == scalar_cast(from, element, to)) continue;
    fmt::print(stderr, "bench_cast: {} to {} is wrong\n", name(from), name(to));
    std::exit(1);
  }
}

void measure(const Walk& walk, Buffers& buffers) {
  std::array<std::array<std::array<double, rounds>, dtypes>, dtypes> seconds{};
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < dtypes; ++i) {
      for (std::size_t j = 0; j < dtypes; ++j) {
        seconds[i][j][round] = seconds_of_pass(walk, castable_dtypes[i], castable_dtypes[j], buffers);
      }
    }
  }
  fmt::print("{}, GB/s of source; the diagonal is memcpy\n{:>10}", walk.name, "to");
  for (const Dtype to : castable_dtypes) fmt::print("{:>9}", name(to));
  fmt::print("\n");
  for (std::size_t i = 0; i < dtypes; ++i) {
    fmt::print("{:<10}", name(castable_dtypes[i]));
    for (auto& times : seconds[i]) {
      std::sort(times.begin(), times.end());
      const double bytes = static_cast<double>(walk.elements) * bits(castable_dtypes[i]) / 8;
      fmt::print("{:>9.1f}", bytes / times[rounds / 2] / 1e9);
    }
    fmt::print("\n");
  }
  fmt::print("\n");
}

void measure_all() {
  Buffers buffers{std::vector<unsigned char>(in_memory.source_bytes),
                  std::vector<unsigned char>(in_memory.target_bytes)};
  std::mt19937_64 random(1);
  for (std::size_t i = 0; i < buffers.source.size(); i += sizeof(std::uint64_t)) {
    const std::uint64_t drawn = random();
    std::memcpy(&buffers.source[i], &drawn, sizeof drawn);
  }
  for (const Dtype from : castable_dtypes) {
    for (const Dtype to : castable_dtypes) check(from, to, buffers);
  }
  measure(in_cache, buffers);
  measure(in_memory, buffers);
}

}  // namespace
}  // namespace sluice

int main() {
  sluice::measure_all();
}
