// Pieces: a request worked out tensor by tensor: which elements of which tensor become which elements of what. Rules
// files are written from them, and plans are told of in their words. Pure data, made without I/O.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sluice/checkpoint.hpp"
#include "sluice/request.hpp"

namespace sluice::rules {

struct Piece {
  static constexpr std::uint32_t itself = UINT32_MAX;

  std::uint32_t tensor = 0;            // its number in the checkpoint
  std::uint32_t destination = itself;  // its number in the request; itself: the tensor is delivered by itself
  DeviceId device;
  Group group;
  Dtype dtype = Dtype::u8;  // as delivered
  Slice from;
  Slice into;
};

struct Pieces {
  std::vector<Piece> pieces;           // by destination, those that have none at the end; then in file order
  std::vector<std::uint32_t> skipped;  // tensors, in file order
  std::uint64_t matched = 0;           // tensors that rules match, skipped ones among them

  /// Those of a destination.
  std::span<const Piece> of(std::uint32_t destination) const noexcept;
};

/// Throws the first of what check() finds.
Pieces pieces_of(const Checkpoint& checkpoint, const Request& request);

/// A slice of a tensor of `shape` in numbers: "[0:128, :]", "[3, :, :] as [8, 2, 96] order (1, 0, 2)"; empty for all of
/// it. REQUIRES: the slice fits.
std::string in_numbers(const Slice& slice, std::span<const std::uint64_t> shape);

/// A name as rules files spell it: in quotes where it has other than bare characters, or could be taken for something
/// else.
std::string spelled(std::string_view name);

}  // namespace sluice::rules
