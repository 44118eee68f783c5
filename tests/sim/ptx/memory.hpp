// Memory: what the kernel sees of the device's memory. The simulated driver owns it and answers for its regions; the
// interpreter remembers the last answers, checks every access against them, and touches nothing else.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sluice::sim::ptx {

// The marks that a launch leaves in Region::defined, by which its owner sees what it touched.
inline constexpr std::uint8_t stored_mark = 1;  // stores leave this, and nothing else
inline constexpr std::uint8_t loaded_mark = 4;  // loads add this

/// One allocation. No access may cross its ends.
struct Region {
  std::uint64_t address = 0;
  std::uint64_t bytes = 0;
  std::byte* host = nullptr;  // where the interpreter finds the byte at `address`
  bool writable = true;
  std::uint8_t* defined = nullptr;  // one for each byte: 0 = never written. nullptr: all are defined
};

class Memory {
 public:
  Memory() = default;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  virtual ~Memory() = default;

  /// The region that contains `address`, or nullptr. It stays as it is until run() returns.
  virtual const Region* find(std::uint64_t address) = 0;
};

}  // namespace sluice::sim::ptx
