// NameTable: name -> number of a tensor, for Catalogue. It holds 8 bytes per slot and no names: those are
// the catalogue's, and are looked at only where 32 bits of their hashes agree. Filled once by one thread; find() from
// any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "loader/base/big_vector.hpp"
#include "sluice/checkpoint.hpp"

namespace sluice {

class NameTable {
 public:
  /// Keyed with a secret of this process, so that no header can be written whose names collide.
  static std::uint64_t hash(std::string_view name) noexcept;

  /// Enters all names anew, the first tensor's as 0; `hashes` are theirs. Stops at the first name that is there
  /// already, and returns the number of its tensor.
  std::optional<std::uint32_t> enter(std::span<const TensorInfo> tensors, std::span<const std::uint64_t> hashes);
  /// The same, with hashes of its own.
  std::optional<std::uint32_t> enter(std::span<const TensorInfo> tensors);

  /// The number of the tensor of that name. `tensors` are those that were entered.
  std::optional<std::uint32_t> find(std::span<const TensorInfo> tensors, std::string_view name) const noexcept {
    return find(tensors, name, hash(name));
  }
  std::optional<std::uint32_t> find(std::span<const TensorInfo> tensors, std::string_view name,
                                    std::uint64_t hash) const noexcept;

  /// Begins to fetch what find() will look at first.
  void prefetch(std::uint64_t hash) const noexcept {
    if (!slots_.empty()) __builtin_prefetch(&slots_[hash >> shift_]);
  }

 private:
  struct Slot {
    std::uint32_t tag = 0;     // the low half of the hash; the high bits say where the slot should lie
    std::uint32_t number = 0;  // of the tensor, from 1; 0 where the slot is free
  };

  /// The slot of that name, or the free one where it belongs.
  std::size_t slot_of(std::span<const TensorInfo> tensors, std::string_view name, std::uint64_t hash) const noexcept;

  BigVector<Slot> slots_;  // a power of two of them, at most half of them taken
  unsigned shift_ = 0;
};

}  // namespace sluice
