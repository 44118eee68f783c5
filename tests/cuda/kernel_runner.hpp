// KernelRunner: executes sluice_deliver from its PTX text, on memory of this process that stands for a device's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "cuda/delivery_table.hpp"
#include "cuda/kernel_image.hpp"
#include "tests/sim/ptx/fatbinary.hpp"
#include "tests/sim/ptx/run.hpp"

namespace sluice {

/// What all machine code in the library's fatbinary was assembled from; empty where there is no fatbinary.
inline std::string_view shipped_ptx() {
  if (kernel_fatbinary().empty()) return {};
  for (const sim::ptx::Entry& entry : sim::ptx::entries(kernel_fatbinary())) {
    if (entry.kind == sim::ptx::Entry::Kind::ptx) return entry.text;
  }
  return {};
}

class KernelRunner {
 public:
  static KernelRunner shipped() { return KernelRunner(shipped_ptx()); }
  explicit KernelRunner(std::string_view ptx) : KernelRunner(sim::ptx::parse(ptx)) {}
  /// No thread may take more steps.
  explicit KernelRunner(sim::ptx::Module module, std::uint64_t step_limit = sim::ptx::Launch{}.step_limit)
      : module_(std::move(module)), step_limit_(step_limit) {}

  /// One launch. Whatever is read of `scratch`, `table` and `arena` beyond their ends, or misaligned, or not read-only
  /// as it should be, throws. Blocks and threads run in the order that `seed` says.
  void launch(std::span<std::byte> scratch, std::span<std::byte> table, const DeliveryTable& counts,
              std::span<std::byte> arena, std::uint64_t seed) {
    Regions regions({region(0x7000'0000'0000, scratch, false), region(0x7100'0000'0000, table, false),
                     region(0x7200'0000'0000, arena, true)});
    struct {
      std::uint64_t extent = 0x7000'0000'0000;
      std::uint64_t pieces = 0x7100'0000'0000;
      std::uint32_t piece_count;
      std::uint64_t arena = 0x7200'0000'0000;
    } parameters{.piece_count = counts.pieces};
    sim::ptx::Launch launch;
    launch.grid = {counts.blocks(), 1, 1};
    launch.block = {threads_per_block, 1, 1};
    launch.parameters = std::as_bytes(std::span(&parameters, 1));
    launch.order_seed = seed;
    launch.step_limit = step_limit_;
    const sim::ptx::Kernel* kernel = module_.kernel("sluice_deliver");
    if (kernel == nullptr) throw std::runtime_error("the text has no sluice_deliver");
    counters_ = sim::ptx::run(*kernel, launch, regions);
  }

  /// Of the last launch.
  const sim::ptx::Counters& counters() const { return counters_; }

 private:
  class Regions final : public sim::ptx::Memory {
   public:
    explicit Regions(const std::array<sim::ptx::Region, 3>& regions) : regions_(regions) {}
    const sim::ptx::Region* find(std::uint64_t address) override {
      for (const sim::ptx::Region& region : regions_) {
        if (address - region.address < region.bytes) return &region;
      }
      return nullptr;
    }

   private:
    std::array<sim::ptx::Region, 3> regions_;
  };

  static sim::ptx::Region region(std::uint64_t address, std::span<std::byte> memory, bool writable) {
    return {address, memory.size(), memory.data(), writable, nullptr};
  }

  sim::ptx::Module module_;
  std::uint64_t step_limit_;
  sim::ptx::Counters counters_;
};

}  // namespace sluice
