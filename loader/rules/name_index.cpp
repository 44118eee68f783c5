#include "loader/rules/name_index.hpp"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <numeric>

#include "loader/format/catalogue.hpp"
#include "loader/plan/access.hpp"

namespace sluice::rules {

std::optional<std::uint32_t> NameIndex::find(std::string_view name) const noexcept {
  return Access::catalogue(checkpoint_)->find(name);
}

void NameIndex::sort() const {
  if (!in_order_.empty() || checkpoint_.tensors().empty()) return;
  in_order_.resize(checkpoint_.tensors().size());
  std::iota(in_order_.begin(), in_order_.end(), 0u);
  std::sort(in_order_.begin(), in_order_.end(),
            [&](std::uint32_t a, std::uint32_t b) { return tensor(a).name < tensor(b).name; });
}

std::span<const std::uint32_t> NameIndex::beginning_with(std::string_view prefix) const {
  sort();
  const auto first = std::partition_point(in_order_.begin(), in_order_.end(), [&](std::uint32_t number) {
    return tensor(number).name.substr(0, prefix.size()) < prefix;
  });
  const auto last = std::partition_point(first, in_order_.end(),
                                         [&](std::uint32_t number) { return tensor(number).name.starts_with(prefix); });
  return {first, last};
}

std::string_view NameIndex::nearest(std::string_view name) const {
  sort();
  const auto behind = std::partition_point(in_order_.begin(), in_order_.end(),
                                           [&](std::uint32_t number) { return tensor(number).name < name; });
  std::string_view best;
  std::size_t best_common = 0;
  const auto consider = [&](std::uint32_t number) {
    const std::string_view other = tensor(number).name;
    const std::size_t shorter = std::min(name.size(), other.size());
    const auto end = name.begin() + static_cast<std::ptrdiff_t>(shorter);
    const auto common = static_cast<std::size_t>(std::mismatch(name.begin(), end, other.begin()).first - name.begin());
    if (common <= best_common) return;
    best = other;
    best_common = common;
  };
  if (behind != in_order_.end()) consider(*behind);
  if (behind != in_order_.begin()) consider(*std::prev(behind));
  return best;
}

}  // namespace sluice::rules
