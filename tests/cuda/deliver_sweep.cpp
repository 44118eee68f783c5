// Goal: as deliver_test, for more values and for all alignments with all lengths.
// Method: copies from each of 16 alignments to each of 16, of every length up to 4,096 that is near the edge of a
// vector or a tile; every cast of a million random elements, or as many as the argument says, in launches that differ
// in alignment. Run by hand, in an optimised build, where a million takes some 20 s; and by
// scripts/gpu-check, on a GPU.
#include <fmt/format.h>

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "tests/cuda/delivery_work.hpp"
#include "tests/cuda/runner.hpp"
#include "tests/loader/support/scalar_cast.hpp"

namespace sluice {
namespace {

void expect_right(DeliveryWork& work, Runner& kernel) {
  const std::string wrong = work.run(kernel);
  if (!wrong.empty()) throw std::runtime_error(wrong);
}

// Of vectors of 16 bytes and tiles of 2 KiB.
bool is_near_an_edge(std::uint32_t length) {
  return length <= 80 || (length + 50) % 2'048 <= 100;
}

void copy_all_lengths(Runner& kernel) {
  for (std::uint32_t source_skew = 0; source_skew < 16; ++source_skew) {
    for (std::uint32_t target_skew = 0; target_skew < 16; ++target_skew) {
      DeliveryWork work(1 + source_skew * 16 + target_skew);
      for (std::uint32_t length = 1; length <= 4'096; ++length) {
        if (!is_near_an_edge(length)) continue;
        DeliveryWork::Item item;
        item.elements = length;
        item.source_skew = source_skew;
        item.target_skew = target_skew;
        work.add(item);
      }
      expect_right(work, kernel);
    }
  }
}

// At least `count` elements.
void cast_values(Runner& kernel, Dtype from, Dtype to, std::uint64_t count) {
  constexpr std::uint32_t launch_elements = 100'000;
  for (std::uint64_t done = 0; done < count; done += launch_elements) {
    DeliveryWork work(1 + done);
    DeliveryWork::Item item;
    item.from = from;
    item.to = to;
    item.elements = launch_elements;
    item.source_skew = work.draw(0, 15);
    item.target_skew = work.draw(0, 7) * bits(to) / 8;
    work.add(item);
    expect_right(work, kernel);
  }
}

void sweep(std::uint64_t count) {
  if (shipped_ptx().empty()) throw std::runtime_error("the library was built without nvcc");
  Runner kernel = Runner::shipped();
  copy_all_lengths(kernel);
  fmt::print("copies of all lengths near an edge, between all alignments, are right\n");
  for (const Dtype from : castable_dtypes) {
    for (const Dtype to : castable_dtypes) {
      if (from == to) continue;
      cast_values(kernel, from, to, count);
      fmt::print("{} to {}: {} elements or more are right\n", name(from), name(to), count);
    }
  }
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  try {
    sluice::sweep(argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1'000'000);
  } catch (const std::exception& error) {
    fmt::print("{}\n", error.what());
    return 1;
  }
}
