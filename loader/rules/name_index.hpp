// NameIndex: a checkpoint's names in alphabetical order, for patterns that match several: those that begin alike are
// neighbours. Sorted when it is first asked for a pattern. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "sluice/checkpoint.hpp"

namespace sluice::rules {

class NameIndex {
 public:
  /// `checkpoint` must outlive it.
  explicit NameIndex(const Checkpoint& checkpoint) noexcept : checkpoint_(checkpoint) {}

  const Checkpoint& checkpoint() const noexcept { return checkpoint_; }
  const TensorInfo& tensor(std::uint32_t number) const noexcept { return checkpoint_.tensors()[number]; }

  /// The number of the tensor of that name.
  std::optional<std::uint32_t> find(std::string_view name) const noexcept;
  /// The numbers of the tensors whose names begin so, in the order of their names.
  std::span<const std::uint32_t> beginning_with(std::string_view prefix) const;
  /// The name that has most of its beginning in common with `name`; empty where there is none that has any.
  std::string_view nearest(std::string_view name) const;

 private:
  void sort() const;

  const Checkpoint& checkpoint_;
  mutable std::vector<std::uint32_t> in_order_;
};

}  // namespace sluice::rules
