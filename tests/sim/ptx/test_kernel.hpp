// For tests: a kernel around a few statements, and memory to run it on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/ptx/run.hpp"

namespace sluice::sim::ptx {

/// A module whose kernel `k` has the parameters p (a pointer) and n (u32), a few registers of each width, and `body`.
/// The body begins on line 7.
inline std::string kernel_text(std::string_view body) {
  std::string text =
      ".version 6.3\n"
      ".target sm_75\n"
      ".address_size 64\n"
      ".visible .entry k(.param .u64 p, .param .u32 n) {\n"
      ".reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %w<9>; .reg .b64 %l<9>;\n"
      "\n";
  return text.append(body).append("\n}\n");
}

class TestMemory : public Memory {
 public:
  /// A region of its own at `address`, full of `fill`.
  Region& add(std::uint64_t address, std::size_t bytes, std::uint8_t fill = 0) {
    Block& block = blocks_.emplace_back();
    block.bytes.assign(bytes, std::byte{fill});
    block.defined.assign(bytes, 1);
    block.region = {address, bytes, block.bytes.data(), true, block.defined.data()};
    return block.region;
  }

  const Region* find(std::uint64_t address) override {
    for (const Block& block : blocks_) {
      if (address - block.region.address < block.region.bytes) {
        return &block.region;
      }
    }
    return nullptr;
  }

 private:
  struct Block {
    std::vector<std::byte> bytes;
    std::vector<std::uint8_t> defined;
    Region region;
  };

  std::deque<Block> blocks_;
};

/// The parameters of kernel_text's kernel.
struct Parameters {
  std::uint64_t p = 0;
  std::uint32_t n = 0;
  std::uint32_t padding = 0;

  std::span<const std::byte> bytes() const { return std::as_bytes(std::span(this, 1)); }
};

template <typename T>
T value_at(const Region& region, std::size_t offset) {
  T value;
  std::memcpy(&value, region.host + offset, sizeof value);
  return value;
}

}  // namespace sluice::sim::ptx
