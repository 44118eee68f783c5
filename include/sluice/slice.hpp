// Slice: some elements of a tensor: a box of it, perhaps seen with another shape or with its dimensions in another
// order. Rules use slices on both sides: which elements are taken, and which elements of a destination they become. A
// plain value, checked by make_plan(). All numbers count elements as they are stored: of an I32 that packs eight 4-bit
// values, I32s. Dimensions are numbered from 0, the outermost.
//
// take(0, 512, 128).take(1, 0, 64) are 128 rows of 64 columns; as({8, 2, 96}).at(1, 0) is every other block of 96 rows.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "sluice/export.hpp"
#include "sluice/few.hpp"

namespace sluice {

class SLUICE_API Slice {
 public:
  static constexpr std::uint64_t rest = UINT64_MAX;

  /// All of it.
  Slice() noexcept = default;

  /// Sees the tensor with another shape of as many elements, row-major. What follows counts this shape's dimensions,
  /// and what was cut before is forgotten.
  Slice& as(std::initializer_list<std::uint64_t> shape);
  Slice& as(const std::vector<std::uint64_t>& shape);
  /// Of a dimension the `count` indices from `begin` on; `rest`: all that follow. A second cut of a dimension counts
  /// within the first.
  Slice& take(unsigned dimension, std::uint64_t begin, std::uint64_t count = rest);
  /// Of a dimension one index: take(dimension, index, 1). The dimension stays, of one element.
  Slice& at(unsigned dimension, std::uint64_t index);
  /// Of a dimension the `index`th of `parts` equal parts, which must divide it: take() says a last part that is
  /// shorter.
  Slice& part(unsigned dimension, std::uint64_t index, std::uint64_t parts);
  /// At last, the dimensions in this order, as NumPy's transpose: {1, 0}.
  Slice& order(std::initializer_list<unsigned> dimensions);
  Slice& order(const std::vector<unsigned>& dimensions);

  friend bool operator==(const Slice&, const Slice&) noexcept = default;

  /// One take(), at() or part(), in the order of the calls.
  struct Cut {
    enum class Kind : std::uint8_t { take, part };
    Kind kind = Kind::take;
    unsigned dimension = 0;
    std::uint64_t first = 0;   // take: begin; part: index
    std::uint64_t second = 0;  // take: count; part: parts

    friend bool operator==(const Cut&, const Cut&) noexcept = default;
  };

  /// What was said: is_reshaped() tells as({}), a scalar, from no as() at all.
  const Few<std::uint64_t>& shape() const noexcept { return shape_; }
  bool is_reshaped() const noexcept { return reshaped_; }
  const Few<Cut>& cuts() const noexcept { return cuts_; }
  const Few<unsigned>& dimensions() const noexcept { return dimensions_; }
  bool is_reordered() const noexcept { return reordered_; }

 private:
  Few<std::uint64_t> shape_;
  Few<Cut> cuts_;
  Few<unsigned> dimensions_;
  bool reshaped_ = false;
  bool reordered_ = false;
};

// Each begins a slice: take(0, 512, 128) is Slice().take(0, 512, 128).
SLUICE_API Slice as(std::initializer_list<std::uint64_t> shape);
SLUICE_API Slice as(const std::vector<std::uint64_t>& shape);
SLUICE_API Slice take(unsigned dimension, std::uint64_t begin, std::uint64_t count = Slice::rest);
SLUICE_API Slice at(unsigned dimension, std::uint64_t index);
SLUICE_API Slice part(unsigned dimension, std::uint64_t index, std::uint64_t parts);
SLUICE_API Slice order(std::initializer_list<unsigned> dimensions);
SLUICE_API Slice order(const std::vector<unsigned>& dimensions);

/// The slice of a tensor of scales, one for each block of `block`, that belongs to slice `of` of a tensor of `shape`,
/// which neither as() nor order() may have changed. An end inside a block takes the block. Throws
/// Error{invalid_argument} where `of` begins inside a block, since two parts would share a scale (whoever wants that
/// says it with take()), for a block of 0, for other numbers of dimensions, and where `of` does not fit `shape`.
SLUICE_API Slice blocks_of(const Slice& of, const std::vector<std::uint64_t>& shape,
                           const std::vector<std::uint64_t>& block);

/// "[512:640, :] as [8, 2, 96, 128]", "[part 1 of 8]", "[:, 3] order (1, 0)": as plans print it and rules files spell
/// it. Dimensions behind the last that is cut are left out; a second cut of a dimension stands in brackets of its own.
/// A slice of everything is an empty string.
SLUICE_API std::string text(const Slice& slice);

}  // namespace sluice
