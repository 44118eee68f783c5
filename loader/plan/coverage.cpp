#include "loader/plan/coverage.hpp"

#include <algorithm>

namespace sluice {
namespace {

// Cuts the shape, dimension by dimension, at every border of a box. What is left between borders is in one box, in
// several or in none.
class Sweep {
 public:
  Sweep(std::span<const std::uint64_t> shape, std::span<const Box> boxes) : boxes_(boxes) {
    here_.shape = Few<std::uint64_t>(shape);
    here_.count = here_.shape;
    for (unsigned i = 0; i < shape.size(); ++i) {
      here_.begin.push_back(0);
      here_.order.push_back(i);
    }
  }

  Coverage run() && {
    std::vector<std::uint32_t> all;
    for (std::uint32_t i = 0; i < boxes_.size(); ++i) {
      if (boxes_[i].elements() != 0) all.push_back(i);
    }
    if (here_.elements() != 0) sweep(0, all);
    return std::move(coverage_);
  }

 private:
  // `boxes` hold all that is here of the dimensions before `dimension`.
  void sweep(unsigned dimension, std::span<const std::uint32_t> boxes) {
    if (coverage_.overlap) return;
    if (boxes.empty()) {
      coverage_.gaps.push_back(here_);
      return;
    }
    if (boxes.size() == 1 && is_whole(boxes_[boxes.front()], dimension)) return;
    if (dimension == here_.shape.size()) {
      coverage_.overlap = std::minmax(boxes[0], boxes[1]);
      coverage_.shared = here_;
      return;
    }
    cut(dimension, {boxes.begin(), boxes.end()});
  }

  // Whether the box holds all of the dimensions from `dimension` on.
  bool is_whole(const Box& box, unsigned dimension) const {
    for (std::size_t i = dimension; i < here_.shape.size(); ++i) {
      if (box.count[i] != here_.shape[i]) return false;
    }
    return true;
  }

  void cut(unsigned dimension, std::vector<std::uint32_t> boxes) {
    const auto begin_of = [&](std::uint32_t box) { return boxes_[box].begin[dimension]; };
    const auto end_of = [&](std::uint32_t box) { return begin_of(box) + boxes_[box].count[dimension]; };
    std::vector<std::uint64_t> borders = {0, here_.shape[dimension]};
    borders.reserve(2 + 2 * boxes.size());
    for (const std::uint32_t box : boxes) borders.insert(borders.end(), {begin_of(box), end_of(box)});
    std::sort(borders.begin(), borders.end());
    borders.erase(std::unique(borders.begin(), borders.end()), borders.end());
    std::sort(boxes.begin(), boxes.end(),
              [&](std::uint32_t a, std::uint32_t b) { return std::pair(begin_of(a), a) < std::pair(begin_of(b), b); });

    std::vector<std::uint32_t> open;
    auto next = boxes.begin();
    for (std::size_t i = 0; i + 1 < borders.size(); ++i) {
      std::erase_if(open, [&](std::uint32_t box) { return end_of(box) <= borders[i]; });
      for (; next != boxes.end() && begin_of(*next) == borders[i]; ++next) open.push_back(*next);
      here_.begin[dimension] = borders[i];
      here_.count[dimension] = borders[i + 1] - borders[i];
      sweep(dimension + 1, open);
    }
    here_.begin[dimension] = 0;
    here_.count[dimension] = here_.shape[dimension];
  }

  std::span<const Box> boxes_;
  Box here_;
  Coverage coverage_;
};

}  // namespace

Coverage cover(std::span<const std::uint64_t> shape, std::span<const Box> boxes) {
  return Sweep(shape, boxes).run();
}

}  // namespace sluice
