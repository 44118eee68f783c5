// Box: a slice worked out against a shape: which indices it takes of each dimension, in the shape that it sees. Pure;
// one thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "sluice/few.hpp"
#include "sluice/slice.hpp"

namespace sluice {

struct Box {
  Few<std::uint64_t> shape;  // as seen
  Few<std::uint64_t> begin;  // by dimension of `shape`, as all of these
  Few<std::uint64_t> count;
  Few<unsigned> order;  // the dimensions in the order in which they count

  /// The product of the counts, which are within the shape's.
  std::uint64_t elements() const noexcept;
};

/// The counts of a box in the order in which its dimensions count.
Few<std::uint64_t> counts_of(const Box& box);

/// The product of a shape's dimensions, at most UINT64_MAX.
std::uint64_t elements_of(std::span<const std::uint64_t> shape) noexcept;

/// `slice` of a tensor of `shape`. Throws Error{invalid_argument} without a place where it does not fit.
Box box_of(const Slice& slice, std::span<const std::uint64_t> shape);

/// "[512:640, :]": begin and end by dimension; dimensions that are taken whole are ":".
std::string text(const Box& box);

/// "[640, 128]".
std::string text_of_shape(std::span<const std::uint64_t> shape);

}  // namespace sluice
