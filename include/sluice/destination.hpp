// Destination: a tensor as the caller wants it, made of slices of the checkpoint's tensors. Rules say of what
// (sluice/request.hpp). A plain value that belongs to its Request.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "sluice/device.hpp"
#include "sluice/dtype.hpp"
#include "sluice/export.hpp"

namespace sluice {

/// What becomes ready together. A load reads groups in ascending order, each in file order, but for what goes to
/// different devices, which is spread over the group; an extent that several groups need is read with the first of
/// them. What names no group is in group 0.
struct Group {
  std::uint32_t number = 0;

  friend auto operator<=>(const Group&, const Group&) = default;
};

/// Where a text says part of a request: Request::text names the text.
struct TextPlace {
  std::uint32_t line = 0;    // from 1 on; 0: there is no text
  std::uint32_t column = 0;  // in characters, from 1 on
};

class SLUICE_API Destination {
 public:
  /// What becomes of the elements that no rule writes.
  enum class Unwritten : std::uint8_t { refused, zero, kept };

  /// The caller's memory on the destination's device: `bytes` at `data`, a multiple of the dtype's natural alignment.
  /// It stays the caller's, and must be there from start() until the load has ended, of which the Load's destructor is
  /// the latest moment. Without it, the tensor lies in the load's arena.
  Destination& memory(void* data, std::uint64_t bytes) {
    data_ = data;
    bytes_ = bytes;
    has_memory_ = true;
    return *this;
  }
  /// Elements from one index to the next, one number per dimension, for memory with a pitch; the last is 1. Row-major
  /// without gaps by default. Only with memory().
  Destination& strides(std::vector<std::uint64_t> elements) {
    strides_ = std::move(elements);
    has_strides_ = true;
    return *this;
  }
  /// Elements that no rule writes become zero: a padded vocabulary. Without this or keep(), make_plan() refuses a
  /// destination that rules do not fill.
  Destination& zero() {
    unwritten_ = Unwritten::zero;
    return *this;
  }
  /// Elements that no rule writes stay as they are: a part of a reload.
  Destination& keep() {
    unwritten_ = Unwritten::kept;
    return *this;
  }
  Destination& group(Group group) {
    group_ = group;
    return *this;
  }
  /// Errors of make_plan() about the destination name this place.
  Destination& said_at(TextPlace place) {
    said_at_ = place;
    return *this;
  }

  const std::string& name() const noexcept { return name_; }
  const std::vector<std::uint64_t>& shape() const noexcept { return shape_; }
  Dtype dtype() const noexcept { return dtype_; }
  DeviceId device() const noexcept { return device_; }
  bool has_memory() const noexcept { return has_memory_; }
  void* data() const noexcept { return data_; }
  std::uint64_t memory_bytes() const noexcept { return bytes_; }
  bool has_strides() const noexcept { return has_strides_; }
  const std::vector<std::uint64_t>& strides() const noexcept { return strides_; }
  Unwritten unwritten() const noexcept { return unwritten_; }
  Group group() const noexcept { return group_; }
  TextPlace said_at() const noexcept { return said_at_; }

 private:
  friend class Request;
  Destination(std::string name, std::vector<std::uint64_t> shape, Dtype dtype, DeviceId device)
      : name_(std::move(name)), shape_(std::move(shape)), device_(device), dtype_(dtype) {}

  std::string name_;
  std::vector<std::uint64_t> shape_;  // row-major, outermost first
  std::vector<std::uint64_t> strides_;
  void* data_ = nullptr;
  std::uint64_t bytes_ = 0;
  Group group_;
  TextPlace said_at_;
  DeviceId device_;
  Dtype dtype_ = Dtype::u8;
  Unwritten unwritten_ = Unwritten::refused;
  bool has_memory_ = false;
  bool has_strides_ = false;
};

}  // namespace sluice
