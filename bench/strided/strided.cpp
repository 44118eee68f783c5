// What does a slice of an inner dimension cost on the host? A tensor in the page cache, whose rows have two halves, is
// loaded in turn
//   whole            as it is, so that it is read straight into place
//   whole, copied    with an alignment that the shard does not have: through a slab, and one memory copy
//   dealt            both halves of each row, to two destinations: all the bytes, in runs of half a row
//   half             one half of each row, as one rank of two has it: half the bytes
// into one block of the caller's, touched before: what fresh memory costs is measured elsewhere. Rates are those of the
// bytes that are read; the least time of the rounds counts.
// Sketch on paper: a copy out of a slab that is still in a cache, past the caches, costs a quarter of the copy out of
// the page cache; rows of 256 bytes add some 5 ns each, a tenth of their copy.
//
// usage: bench_strided FOLDER [MIB [ROUNDS [SLAB_KIB STAGING_MIB]]]: writes a file of MIB (512) into FOLDER, and
// removes it.
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "loader/base/stopwatch.hpp"
#include "sluice/sluice.hpp"
#include "tests/loader/support/shard_writer.hpp"

namespace sluice {
namespace {

constexpr std::size_t huge_page = std::size_t{2} << 20;

struct Free {
  void operator()(void* memory) const noexcept { std::free(memory); }
};
using Block = std::unique_ptr<void, Free>;

// Touched: its pages are there.
Block touched(std::uint64_t bytes) {
  const std::size_t whole_pages = (bytes + huge_page - 1) / huge_page * huge_page;
  Block block(std::aligned_alloc(huge_page, whole_pages));
  if (block == nullptr) throw std::bad_alloc();
  madvise(block.get(), whole_pages, MADV_HUGEPAGE);
  std::fill_n(static_cast<std::byte*>(block.get()), whole_pages, std::byte{1});
  return block;
}

struct Way {
  const char* name;
  Request request;
  double seconds = std::numeric_limits<double>::max();
  double cpu_seconds = std::numeric_limits<double>::max();
};

std::vector<Way> ways(std::uint64_t rows, std::uint64_t half) {
  std::vector<Way> all(4);
  all[0].name = "whole";
  all[0].request.add("x");
  all[1].name = "whole, copied";
  all[1].request.alignment_bytes = 4096;
  all[1].request.add("x");
  all[2].name = "dealt";
  Rule& dealt = all[2].request.add("x");
  for (const std::uint64_t i : {0u, 1u}) {
    dealt.to(all[2].request.destination(std::to_string(i), {rows, half}, Dtype::u8, host()), part(1, i, 2));
  }
  all[3].name = "half";
  all[3].request.add("x").take(part(1, 1, 2));
  return all;
}

void measure(Engine& engine, const TemporaryFolder& folder, std::uint64_t bytes, std::uint64_t half, int rounds,
             const Block& block) {
  const std::uint64_t rows = bytes / (2 * half);
  // 7 spaces: tensor data at an odd address, as most shards have them.
  const auto file = write_shard(folder, "x.safetensors", {{"x", Dtype::u8, {rows, 2 * half}}}, 7);
  const auto checkpoint = Checkpoint::open(file);
  std::vector<Way> all = ways(rows, half);
  std::vector<std::uint64_t> read(all.size());
  for (int round = 0; round <= rounds; ++round) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      const Plan plan = make_plan(checkpoint, all[i].request, engine.options());
      read[i] = plan.costs().read_bytes;
      const Stopwatch stopwatch;
      const Load load = engine.start(plan, {.arenas = {{host(), block.get(), plan.costs().devices[0].arena_bytes}}});
      load.wait();
      if (round == 0) continue;  // makes the engine's slabs
      all[i].seconds = std::min(all[i].seconds, stopwatch.seconds());
      all[i].cpu_seconds = std::min(all[i].cpu_seconds, stopwatch.cpu_seconds());
    }
  }
  fmt::print("| {} |", half);
  const double whole = static_cast<double>(read[0]) / all[0].seconds;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const double rate = static_cast<double>(read[i]) / all[i].seconds;
    fmt::print(" {:.2f} | {:.2f} | {:.3f} |", rate / 1e9, rate / whole,
               all[i].cpu_seconds * 1e9 / static_cast<double>(read[i]));
  }
  fmt::print(" {:.2f} |\n", static_cast<double>(read[3]) / static_cast<double>(read[0]));
}

}  // namespace
}  // namespace sluice

int main(int count, char** arguments) {
  if (count < 2) {
    fmt::print(stderr, "usage: bench_strided FOLDER [MIB [ROUNDS [SLAB_KIB STAGING_MIB]]]\n");
    return 2;
  }
  const std::uint64_t bytes = (count > 2 ? std::strtoull(arguments[2], nullptr, 10) : 512) << 20;
  const int rounds = count > 3 ? std::max(1, std::atoi(arguments[3])) : 7;
  const sluice::TemporaryFolder folder(arguments[1]);
  const sluice::Block block = sluice::touched(bytes + (1 << 20));
  sluice::Options options;
  if (count > 5) {
    options.slab_bytes = std::strtoull(arguments[4], nullptr, 10) << 10;
    options.staging_bytes = std::strtoull(arguments[5], nullptr, 10) << 20;
  }
  sluice::Engine engine(options);
  fmt::print("| bytes of half a row |");
  for (const char* const way : {"whole", "whole, copied", "dealt", "half"}) {
    fmt::print(" {}: GB/s | of whole | CPU s per GB |", way);
  }
  fmt::print(" of the bytes, half reads |\n| ---: |");
  for (int i = 0; i < 4 * 3 + 1; ++i) fmt::print(" ---: |");
  fmt::print("\n");
  for (const std::uint64_t half : {256u, 1024u, 4096u, 16384u}) {
    sluice::measure(engine, folder, bytes, half, rounds, block);
  }
  return 0;
}
