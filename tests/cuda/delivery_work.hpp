// DeliveryWork: deliveries with all that a launch needs and should leave behind: extent, table, arena. What is added
// goes one behind the other, in the extent as in the arena, with gaps for the alignments that are asked for; the extent
// ends with the last source element, the arena with the last target.
// Threads: after its first run it may be run on any number of them, each with a runner of its own.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "cuda/delivery_table.hpp"
#include "loader/base/alignment.hpp"
#include "loader/device/array_cast.hpp"
#include "tests/cuda/deliveries.hpp"
#include "tests/loader/support/scalar_cast.hpp"

namespace sluice {

class DeliveryWork {
 public:
  struct Item {
    Dtype from = Dtype::u8;
    Dtype to = Dtype::u8;
    std::uint32_t elements = 1;  // of a row
    std::uint32_t rows = 1;
    std::uint32_t source_gap = 0;  // bytes between two rows
    std::uint32_t target_gap = 0;
    std::uint32_t source_skew = 0;  // the offset in the extent modulo 16
    std::uint32_t target_skew = 0;  // in the arena, modulo 64
  };

  explicit DeliveryWork(std::uint64_t seed = 1) : random_(seed) {}

  std::uint32_t draw(std::uint32_t least, std::uint32_t most) {
    return std::uniform_int_distribution<std::uint32_t>(least, most)(random_);
  }

  /// With elements of random values, corners among them.
  void add(const Item& item) {
    std::vector<std::uint64_t> values(std::size_t{item.rows} * item.elements);
    for (std::uint64_t& value : values) value = draw_value(item.from);
    add(item, values);
  }

  /// Each value that a format of 16 bits or fewer has, in order.
  void add_all_values(Dtype from, Dtype to, std::uint32_t source_skew, std::uint32_t target_skew) {
    std::vector<std::uint64_t> values(std::size_t{1} << bits(from));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = i;
    Item item;
    item.from = from;
    item.to = to;
    item.elements = static_cast<std::uint32_t>(values.size());
    item.source_skew = source_skew;
    item.target_skew = target_skew;
    add(item, values);
  }

  /// Bytes of the arena that nothing goes to.
  void add_untouched(std::size_t bytes) { expected_.resize(expected_.size() + bytes, guard); }

  /// Launches the kernel once and compares all of the arena: says which byte is wrong, or nothing. Where the runner
  /// counts, no more may be stored than is needed. Nothing may be added after the first run.
  template <typename Runner>
  std::string run(Runner& runner) {
    if (!plan_.has_value()) prepare();
    std::vector<std::byte> arena(expected_.size(), guard);
    runner.launch(extent_, table_, counts_, arena, order_seed_);
    const auto wrong = std::mismatch(arena.begin(), arena.end(), expected_.begin()).first;
    if (wrong != arena.end()) return describe(*plan_, wrong - arena.begin(), *wrong);
    if constexpr (requires { runner.counters(); }) {
      const std::uint64_t stores = runner.counters().stores;
      if (stores > stores_max_) return fmt::format("{} stores, where {} are enough", stores, stores_max_);
    }
    return "";
  }

 private:
  static constexpr std::byte guard{0xa5};

  void prepare() {
    plan_ = deliveries_.plan();
    extent_.resize(table_offset(extent_.size()));
    table_.resize(table_bytes(plan_->deliveries.size()));
    counts_ = write_delivery_table(*plan_, Targets{}, plan_->deliveries, table_).value();
    table_.resize(table_bytes(counts_.pieces));
    order_seed_ = random_();
  }

  static std::uint32_t bytes_of(Dtype dtype) { return bits(dtype) / 8; }

  // Grows `memory` so that it ends at `skew` modulo `alignment`, with at least one byte between what was there and what
  // comes.
  static std::size_t begin_at(std::vector<std::byte>& memory, std::size_t skew, std::size_t alignment) {
    std::size_t begin = memory.size() / alignment * alignment + skew;
    if (!memory.empty() && begin <= memory.size()) begin += alignment;
    memory.resize(begin, guard);
    return begin;
  }

  // Whole vectors are stored 16 bytes at a time, what a row has beside them element by element.
  static std::uint64_t stores_of_row(const Item& item, std::size_t begin, std::size_t end) {
    const bool is_copy = item.from == item.to;
    const std::size_t size = is_copy ? 1 : bytes_of(item.to);
    const std::size_t vector = is_copy ? 16 : 8 * size;
    const std::size_t first = align_up(begin, vector);
    const std::size_t last = end / vector * vector;
    if (first >= last) return (end - begin) / size;
    return (first - begin) / size + (last - first) / std::min<std::size_t>(vector, 16) + (end - last) / size;
  }

  void add(const Item& item, const std::vector<std::uint64_t>& values) {
    const std::uint32_t source_row = item.elements * bytes_of(item.from);
    const std::uint32_t target_row = item.elements * bytes_of(item.to);
    Delivery delivery = one_row(static_cast<std::uint32_t>(begin_at(extent_, item.source_skew, 16)),
                                begin_at(expected_, item.target_skew, 64), source_row);
    delivery.rows = item.rows;
    delivery.source_stride = source_row + item.source_gap;
    delivery.target_stride = target_row + item.target_gap;
    for (std::uint32_t row = 0; row < item.rows; ++row) {
      if (row != 0) extent_.resize(extent_.size() + item.source_gap, guard);
      if (row != 0) expected_.resize(expected_.size() + item.target_gap, guard);
      const std::size_t source = extent_.size();
      extent_.resize(source + source_row);
      for (std::size_t i = 0; i < item.elements; ++i) {
        std::memcpy(&extent_[source + i * bytes_of(item.from)], &values[row * item.elements + i], bytes_of(item.from));
      }
      expected_.resize(expected_.size() + target_row);
      stores_max_ += stores_of_row(item, expected_.size() - target_row, expected_.size());
      if (item.from == item.to) {
        std::memcpy(expected_.data() + expected_.size() - target_row, &extent_[source], source_row);
      } else {
        cast_elements(item.from, &extent_[source], item.to, expected_.data() + expected_.size() - target_row,
                      item.elements);
      }
    }
    deliveries_.add(item.from, item.to, delivery);
  }

  // Formats of 16 bits and fewer are small enough for all bits to be met by chance. Of F64 and F32, a few of each: what
  // code that handles them may get wrong.
  std::uint64_t draw_value(Dtype dtype) {
    const std::uint64_t random = random_();
    if (dtype != f64 && dtype != f32) return random;
    const unsigned fraction_bits = dtype == f64 ? 52 : 23;
    const std::uint64_t sign = (random & 1) << (bits(dtype) - 1);
    const std::uint64_t infinity = dtype == f64 ? casts::f64_infinity : casts::f32_infinity;
    const std::uint64_t one_bit = std::uint64_t{1} << (random >> 32) % (fraction_bits + 1);
    const std::uint64_t beside = random_() % 3 - 1;  // one less, or one more, or neither
    switch (random_() % 8) {
      case 0:  // infinity, and NaNs of few bits or many
        return sign | infinity | (one_bit + beside);
      case 1:  // about powers of two: zero, subnormals, the smallest normal number
        return sign | (one_bit + beside);
      case 2:  // the largest numbers
        return sign | (infinity - one_bit);
      case 3:
      case 4: {  // halfway between neighbours of a smaller format, with its largest numbers among them
        const Dtype small = castable_dtypes[(dtype == f64 ? 1 : 2) + (random >> 1) % (dtype == f64 ? 5 : 4)];
        const std::uint64_t largest = scalar_cast(f64, 0x7fefffffffffffff, small) - 1;
        const std::uint64_t below = (random >> 4) % 4 == 0 ? largest - (random >> 8) % 3 : random >> 8;
        return scalar_cast(small, below, dtype) / 2 + scalar_cast(small, below + 1, dtype) / 2 + beside;
      }
      case 5:
      case 6: {  // in the range of the small formats
        const std::uint64_t exponent = (dtype == f64 ? 1023 : 127) - 28 + (random >> 1) % 48;
        return sign | exponent << fraction_bits | (random_() & ((std::uint64_t{1} << fraction_bits) - 1));
      }
      default:
        return random;
    }
  }

  static std::string describe(const PlanData& plan, std::size_t offset, std::byte got) {
    const auto next = std::find_if(plan.deliveries.begin(), plan.deliveries.end(),
                                   [&](const Delivery& delivery) { return delivery.target_offset > offset; });
    const std::string wrong = fmt::format("byte {} of the arena is {:#x}; ", offset, static_cast<unsigned>(got));
    if (next == plan.deliveries.begin()) return wrong + "nothing goes there";
    const Delivery& last = *(next - 1);
    const Placement& placement = plan.placements[last.placement];
    return wrong + fmt::format("there or before it: {} to {}, {} rows of {} bytes from {} to {}",
                               name(plan.catalogue->tensors[placement.tensor].dtype), name(placement.dtype), last.rows,
                               last.run_bytes, last.source_offset, last.target_offset);
  }

  std::mt19937_64 random_;
  Deliveries deliveries_;
  std::vector<std::byte> extent_;
  std::vector<std::byte> expected_;
  std::uint64_t stores_max_ = 0;
  // From the first run on.
  std::optional<PlanData> plan_;
  std::vector<std::byte> table_;
  DeliveryTable counts_;
  std::uint64_t order_seed_ = 0;
};

}  // namespace sluice
