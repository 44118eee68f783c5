#include "sluice/slice.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

#include "loader/base/limits.hpp"
#include "loader/plan/box.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

template <typename T>
Few<T> few(std::initializer_list<T> elements) {
  return Few<T>({elements.begin(), elements.size()});
}

[[noreturn]] void refuse_blocks(std::string message, std::string hint = {}) {
  throw Error(ErrorCode::invalid_argument, "blocks_of(): " + std::move(message), {}, std::move(hint));
}

std::string text(const Slice::Cut& cut) {
  if (cut.kind == Slice::Cut::Kind::part) return fmt::format("part {} of {}", cut.first, cut.second);
  if (cut.second == 1) return fmt::format("{}", cut.first);
  if (cut.second == Slice::rest) return cut.first == 0 ? ":" : fmt::format("{}:", cut.first);
  if (cut.second > UINT64_MAX - cut.first) return fmt::format("{}:{}+{}", cut.first, cut.first, cut.second);
  if (cut.first == 0) return fmt::format(":{}", cut.second);
  return fmt::format("{}:{}", cut.first, cut.first + cut.second);
}

// The cuts of one pair of brackets: each of another dimension, from `next` on, which is moved behind them.
std::string brackets(const Few<Slice::Cut>& cuts, std::size_t& next) {
  std::vector<std::string> dimensions;
  for (; next < cuts.size(); ++next) {
    const Slice::Cut& cut = cuts[next];
    if (cut.dimension >= limits::dimensions_max) {  // no tensor has it: make_plan() refuses the slice
      if (!dimensions.empty()) break;
      return fmt::format("[{} of dimension {}]", text(cuts[next++]), cut.dimension);
    }
    if (cut.dimension >= dimensions.size()) dimensions.resize(cut.dimension + 1);
    if (!dimensions[cut.dimension].empty()) break;
    dimensions[cut.dimension] = text(cut);
  }
  for (std::string& dimension : dimensions) {
    if (dimension.empty()) dimension = ":";
  }
  return fmt::format("[{}]", fmt::join(dimensions, ", "));
}

}  // namespace

Slice& Slice::as(std::initializer_list<std::uint64_t> shape) {
  shape_ = few(shape);
  reshaped_ = true;
  cuts_ = {};
  return *this;
}
Slice& Slice::as(const std::vector<std::uint64_t>& shape) {
  shape_ = Few<std::uint64_t>(shape);
  reshaped_ = true;
  cuts_ = {};
  return *this;
}
Slice& Slice::take(unsigned dimension, std::uint64_t begin, std::uint64_t count) {
  cuts_.push_back({Cut::Kind::take, dimension, begin, count});
  return *this;
}
Slice& Slice::at(unsigned dimension, std::uint64_t index) {
  return take(dimension, index, 1);
}
Slice& Slice::part(unsigned dimension, std::uint64_t index, std::uint64_t parts) {
  cuts_.push_back({Cut::Kind::part, dimension, index, parts});
  return *this;
}
Slice& Slice::order(std::initializer_list<unsigned> dimensions) {
  dimensions_ = few(dimensions);
  reordered_ = true;
  return *this;
}
Slice& Slice::order(const std::vector<unsigned>& dimensions) {
  dimensions_ = Few<unsigned>(dimensions);
  reordered_ = true;
  return *this;
}

Slice as(std::initializer_list<std::uint64_t> shape) {
  return std::move(Slice().as(shape));
}
Slice as(const std::vector<std::uint64_t>& shape) {
  return std::move(Slice().as(shape));
}
Slice take(unsigned dimension, std::uint64_t begin, std::uint64_t count) {
  return std::move(Slice().take(dimension, begin, count));
}
Slice at(unsigned dimension, std::uint64_t index) {
  return std::move(Slice().at(dimension, index));
}
Slice part(unsigned dimension, std::uint64_t index, std::uint64_t parts) {
  return std::move(Slice().part(dimension, index, parts));
}
Slice order(std::initializer_list<unsigned> dimensions) {
  return std::move(Slice().order(dimensions));
}
Slice order(const std::vector<unsigned>& dimensions) {
  return std::move(Slice().order(dimensions));
}

Slice blocks_of(const Slice& of, const std::vector<std::uint64_t>& shape, const std::vector<std::uint64_t>& block) {
  if (of.is_reshaped() || of.is_reordered()) refuse_blocks("the slice is one with as() or order()");
  if (block.size() != shape.size()) {
    refuse_blocks(fmt::format("blocks of {} dimensions for a tensor of {}", block.size(), shape.size()));
  }
  const Box box = box_of(of, shape);
  Slice blocks;
  for (unsigned i = 0; i < shape.size(); ++i) {
    if (block[i] == 0) refuse_blocks(fmt::format("the block has a size of 0 in dimension {}", i));
    if (box.begin[i] == 0 && box.count[i] == shape[i]) continue;
    if (box.begin[i] % block[i] != 0) {
      refuse_blocks(fmt::format("the slice {} begins inside a block of {}, at {} of dimension {}", sluice::text(of),
                                block[i], box.begin[i], i),
                    "pad the tensor to whole blocks per part, or share the block with take()");
    }
    const std::uint64_t last = box.count[i] == 0 ? 0 : (box.count[i] - 1) / block[i] + 1;
    blocks.take(i, box.begin[i] / block[i], last);
  }
  return blocks;
}

std::string text(const Slice& slice) {
  std::string all;
  for (std::size_t next = 0; next < slice.cuts().size();) all += brackets(slice.cuts(), next);
  const auto append = [&all](std::string part) { all += (all.empty() ? "" : " ") + std::move(part); };
  if (slice.is_reshaped()) append(fmt::format("as [{}]", fmt::join(slice.shape().all(), ", ")));
  if (slice.is_reordered()) append(fmt::format("order ({})", fmt::join(slice.dimensions().all(), ", ")));
  return all;
}

}  // namespace sluice
