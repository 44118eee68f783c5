#include "loader/plan/box.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <limits>
#include <utility>

#include "loader/base/limits.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

[[noreturn]] void refuse(const Slice& slice, std::string message, std::string hint = {}) {
  throw Error(ErrorCode::invalid_argument, fmt::format("slice {}: {}", text(slice), std::move(message)), {},
              std::move(hint));
}

void take(const Slice& slice, const Slice::Cut& cut, Box& box) {
  const std::uint64_t size = box.count[cut.dimension];
  if (cut.first > size || (cut.second != Slice::rest && cut.second > size - cut.first)) {
    const std::string wanted = cut.second == Slice::rest ? fmt::format("from {} on", cut.first)
                                                         : fmt::format("{} from {} on", cut.second, cut.first);
    refuse(slice, fmt::format("{} of dimension {}, which has {}", wanted, cut.dimension, size));
  }
  box.begin[cut.dimension] += cut.first;
  box.count[cut.dimension] = cut.second == Slice::rest ? size - cut.first : cut.second;
}

void take_part(const Slice& slice, const Slice::Cut& cut, Box& box) {
  const std::uint64_t size = box.count[cut.dimension];
  if (cut.second == 0) refuse(slice, "there are no 0 parts of a dimension", "parts are counted from 1");
  if (cut.first >= cut.second)
    refuse(slice, fmt::format("no part {} of {}", cut.first, cut.second), "the first is part 0");
  if (size % cut.second != 0) {
    refuse(slice, fmt::format("dimension {} has {}, which {} parts do not divide", cut.dimension, size, cut.second),
           "use take() for parts of different sizes");
  }
  box.count[cut.dimension] = size / cut.second;
  box.begin[cut.dimension] += cut.first * (size / cut.second);
}

Few<unsigned> order_of(const Slice& slice, std::size_t dimensions) {
  Few<unsigned> order;
  if (!slice.is_reordered()) {
    for (unsigned i = 0; i < dimensions; ++i) order.push_back(i);
    return order;
  }
  bool permutes = slice.dimensions().size() == dimensions;
  for (unsigned i = 0; permutes && i < dimensions; ++i) {
    unsigned times = 0;
    for (const unsigned dimension : slice.dimensions()) times += dimension == i ? 1 : 0;
    permutes = times == 1;
  }
  if (!permutes) {
    refuse(slice, fmt::format("the order is none of the {} dimensions", dimensions),
           "name each dimension once, from 0 on");
  }
  return slice.dimensions();
}

}  // namespace

std::uint64_t elements_of(std::span<const std::uint64_t> shape) noexcept {
  std::uint64_t elements = 1;
  bool overflow = false;
  for (const std::uint64_t size : shape) {
    if (size == 0) return 0;
    overflow = __builtin_mul_overflow(elements, size, &elements) || overflow;
  }
  return overflow ? std::numeric_limits<std::uint64_t>::max() : elements;
}

Few<std::uint64_t> counts_of(const Box& box) {
  Few<std::uint64_t> counts;
  for (const unsigned dimension : box.order) counts.push_back(box.count[dimension]);
  return counts;
}

std::uint64_t Box::elements() const noexcept {
  return elements_of(count.all());
}

Box box_of(const Slice& slice, std::span<const std::uint64_t> shape) {
  Box box;
  if (slice.is_reshaped()) {
    const std::uint64_t seen = elements_of(slice.shape().all());
    if (seen != elements_of(shape)) {
      refuse(slice, fmt::format("{} has {} elements, and {} has {}", text_of_shape(slice.shape().all()), seen,
                                text_of_shape(shape), elements_of(shape)));
    }
    if (slice.shape().size() > limits::dimensions_max) {
      refuse(slice, fmt::format("{} dimensions, more than {}", slice.shape().size(), limits::dimensions_max));
    }
    box.shape = slice.shape();
  } else {
    box.shape = Few<std::uint64_t>(shape);
  }
  box.count = box.shape;
  for (std::size_t i = 0; i < box.shape.size(); ++i) box.begin.push_back(0);
  for (const Slice::Cut& cut : slice.cuts()) {
    if (cut.dimension >= box.shape.size()) {
      refuse(slice, fmt::format("there is no dimension {} in {}", cut.dimension, text_of_shape(box.shape.all())),
             "dimensions are numbered from 0, the outermost");
    }
    cut.kind == Slice::Cut::Kind::take ? take(slice, cut, box) : take_part(slice, cut, box);
  }
  box.order = order_of(slice, box.shape.size());
  return box;
}

std::string text(const Box& box) {
  std::string all;
  for (std::size_t i = 0; i < box.shape.size(); ++i) {
    if (i != 0) all += ", ";
    const bool whole = box.begin[i] == 0 && box.count[i] == box.shape[i];
    all += whole ? ":" : fmt::format("{}:{}", box.begin[i], box.begin[i] + box.count[i]);
  }
  return "[" + all + "]";
}

std::string text_of_shape(std::span<const std::uint64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace sluice
