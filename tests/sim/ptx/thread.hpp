// Thread: one thread of the kernel while it runs: its slots, and the way to memory with all checks on it. Instructions
// act on it; run() makes it and moves it from thread to thread. What goes wrong is thrown as Trouble, to which run()
// adds the place.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "tests/sim/ptx/run.hpp"

namespace sluice::sim::ptx {

static_assert(std::endian::native == std::endian::little, "memory is copied as it lies; a GPU is little-endian");

struct Trouble {
  std::string reason;
  std::optional<std::uint64_t> address;
};

class Thread {
 public:
  Thread(const Kernel& kernel, std::span<const std::byte> parameters, Memory& memory, Counters& counters);

  /// A new thread: nothing is left in registers.
  void begin(Index block, Index thread, const Launch& launch);
  Index index(std::uint16_t first_slot) const;

  template <std::integral T>
  T read(std::uint16_t slot) const {
    const std::uint64_t value = slots_[slot];
    if (value == poison) [[unlikely]] {
      refuse_undefined(slot);
    }
    return static_cast<T>(value);
  }

  template <std::integral T>
  void write(std::uint16_t slot, T value) {
    written_[slot / chunk] = true;
    if constexpr (std::is_same_v<T, bool>) {
      slots_[slot] = value;
    } else {
      slots_[slot] = static_cast<std::make_unsigned_t<T>>(value);
    }
  }

  /// Copies a slot as it is; it may be undefined.
  void copy(std::uint16_t target, std::uint16_t source) {
    written_[target / chunk] = true;
    slots_[target] = slots_[source];
  }

  /// `bytes` to read at `address`: aligned, in one region, all of them defined.
  template <std::size_t bytes>
  const std::byte* source(std::uint64_t address) {
    const std::uint64_t offset = locate<bytes>(source_, address);
    if (source_->defined != nullptr) {
      bool defined = true;
      for (std::size_t i = 0; i < bytes; ++i) {
        defined &= source_->defined[offset + i] != 0;
      }
      if (!defined) [[unlikely]] {
        refuse(address, bytes, "loaded, but never written");
      }
      for (std::size_t i = 0; i < bytes; ++i) {
        source_->defined[offset + i] |= loaded_mark;
      }
    }
    ++counters_.loads;
    counters_.loaded_bytes += bytes;
    return source_->host + offset;
  }

  /// `bytes` to write at `address`: aligned, in one region, which is writable. They count as defined from now on.
  template <std::size_t bytes>
  std::byte* target(std::uint64_t address) {
    const std::uint64_t offset = locate<bytes>(target_, address);
    if (!target_->writable) [[unlikely]] {
      refuse(address, bytes, "stored, but the memory is read-only");
    }
    if (target_->defined != nullptr) {
      std::memset(target_->defined + offset, stored_mark, bytes);
    }
    ++counters_.stores;
    counters_.stored_bytes += bytes;
    return target_->host + offset;
  }

  /// `bytes` of the parameters, which have their own addresses, from 0 on.
  const std::byte* parameter(std::uint64_t address, std::size_t bytes) const {
    if (address % bytes != 0) {
      refuse(address, bytes, "not aligned");
    }
    if (address > parameters_.size() || bytes > parameters_.size() - address) {
      refuse(address, bytes, "beyond the parameters");
    }
    return parameters_.data() + address;
  }

 private:
  /// The offset of `address` in its region, which becomes `region`.
  template <std::size_t bytes>
  std::uint64_t locate(const Region*& region, std::uint64_t address) {
    if (address % bytes != 0) [[unlikely]] {
      refuse(address, bytes, "not aligned");
    }
    if (region == nullptr || address - region->address >= region->bytes) [[unlikely]] {
      region = find(address, bytes);
    }
    const std::uint64_t offset = address - region->address;
    if (bytes > region->bytes - offset) [[unlikely]] {
      refuse(address, bytes, "beyond the end of the allocation");
    }
    return offset;
  }

  const Region* find(std::uint64_t address, std::size_t bytes);
  [[noreturn]] void refuse_undefined(std::uint16_t slot) const;
  [[noreturn]] static void refuse(std::uint64_t address, std::size_t bytes, const char* reason);

  const Kernel& kernel_;
  std::span<const std::byte> parameters_;
  Memory& memory_;
  Counters& counters_;
  std::vector<std::uint64_t> slots_;
  // A kernel may have thousands of registers, of which a thread uses a few: only chunks that it wrote to are reset.
  static constexpr std::size_t chunk = 64;
  std::vector<std::uint8_t> written_;
  Region constants_;
  const Region* source_ = nullptr;  // of the last load
  const Region* target_ = nullptr;  // of the last store
};

}  // namespace sluice::sim::ptx
