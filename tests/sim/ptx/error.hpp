// What can go wrong, as two exceptions: a text that is not of the subset (Error, from parse), and a launch that a GPU
// would not survive, or would answer with garbage (Fault, from run).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

namespace sluice::sim::ptx {

/// what() is "line 12: unknown operation `foo.u32`".
class Error : public std::runtime_error {
 public:
  Error(std::uint32_t at_line, const std::string& message);

  std::uint32_t line;
};

using Index = std::array<std::uint32_t, 3>;  // x, y, z

/// what() is "line 12, block (3,0,0), thread (17,0,0): 4 bytes at 0x7f0000000002: not aligned".
class Fault : public std::runtime_error {
 public:
  Fault(const std::string& reason, std::uint32_t at_line, Index in_block, Index in_thread,
        std::optional<std::uint64_t> at_address);

  std::uint32_t line;  // of the PTX text
  Index block;
  Index thread;
  std::optional<std::uint64_t> address;  // of the memory access, if that is what failed
};

}  // namespace sluice::sim::ptx
