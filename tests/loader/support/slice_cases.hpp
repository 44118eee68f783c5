// SliceCases: random checkpoints and random requests of slices into destinations, and what each byte of a destination
// must be, worked out element by element from what sluice/slice.hpp says: it knows no loops, runs or routes.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "loader/device/array_cast.hpp"
#include "sluice/sluice.hpp"
#include "tests/loader/support/shard_writer.hpp"

namespace sluice {

using Shape = std::vector<std::uint64_t>;

inline std::uint64_t product(const Shape& shape) {
  return std::accumulate(shape.begin(), shape.end(), std::uint64_t{1}, std::multiplies<>());
}

/// The numbers of the elements that a slice takes of a tensor, row-major, in the order in which they count.
inline std::vector<std::uint64_t> elements_taken(const Slice& slice, const Shape& tensor) {
  const Shape shape = slice.is_reshaped() ? Shape(slice.shape().begin(), slice.shape().end()) : tensor;
  std::vector<std::vector<std::uint64_t>> indices;  // by dimension
  for (const std::uint64_t size : shape) {
    indices.emplace_back(size);
    std::iota(indices.back().begin(), indices.back().end(), 0);
  }
  for (const Slice::Cut& cut : slice.cuts()) {
    std::vector<std::uint64_t>& of = indices.at(cut.dimension);
    std::uint64_t begin = cut.first;
    std::uint64_t count = cut.second == Slice::rest ? of.size() - begin : cut.second;
    if (cut.kind == Slice::Cut::Kind::part) {
      count = of.size() / cut.second;
      begin = cut.first * count;
    }
    of = {of.begin() + static_cast<std::ptrdiff_t>(begin), of.begin() + static_cast<std::ptrdiff_t>(begin + count)};
  }
  std::vector<unsigned> order(shape.size());
  std::iota(order.begin(), order.end(), 0);
  if (slice.is_reordered()) order.assign(slice.dimensions().begin(), slice.dimensions().end());

  std::vector<std::uint64_t> taken = {0};
  for (const unsigned dimension : order) {
    std::uint64_t stride = 1;
    for (std::size_t i = dimension + 1; i < shape.size(); ++i) stride *= shape[i];
    std::vector<std::uint64_t> longer;
    for (const std::uint64_t before : taken) {
      for (const std::uint64_t index : indices[dimension]) longer.push_back(before + index * stride);
    }
    taken = std::move(longer);
  }
  return taken;
}

class SliceCase {
 public:
  static constexpr std::byte untouched{0xa5};

  /// Of `devices`. `on_host`: some destinations lie in memory of the caller's, and some keep what no rule writes, which
  /// on a GPU would be undefined.
  SliceCase(std::uint64_t seed, std::vector<DeviceId> devices, bool on_host)
      : random_(seed), devices_(std::move(devices)), on_host_(on_host) {
    const std::uint64_t count = draw(1, 5);
    for (std::uint64_t i = 0; i < count; ++i) {
      constexpr Dtype dtypes[] = {f32, bf16, f16, f8_e4m3, f64, Dtype::i32, Dtype::u8};
      tensors_.push_back(
          {"t" + std::to_string(i), dtypes[draw(0, 6)], draw_shape(draw(0, 4), draw(0, 3) == 0 ? 40 : 7)});
    }
    const std::uint64_t destinations = draw(1, 6);
    for (std::uint64_t i = 0; i < destinations; ++i) add_destination(i);
    for (const TestTensor& tensor : tensors_) {
      if (!used(tensor.name)) request_.add(tensor.name).skip();
    }
    request_.strict = true;
  }
  SliceCase(const SliceCase&) = delete;
  SliceCase& operator=(const SliceCase&) = delete;

  const std::vector<TestTensor>& tensors() const { return tensors_; }
  const Request& request() const { return request_; }
  std::uint64_t draw(std::uint64_t least, std::uint64_t most) {
    return std::uniform_int_distribution<std::uint64_t>(least, most)(random_);
  }

  /// That a load of the request that has ended holds what it must, and the caller's memory nothing else.
  void expect_right(const Load& load) const {
    for (const Wanted& wanted : wanted_) {
      const testing::ScopedTrace trace(__FILE__, __LINE__, wanted.name + " on " + name(wanted.device));
      const Tensor* const got = load.find(wanted.name, wanted.device);
      ASSERT_NE(got, nullptr);
      EXPECT_EQ(got->dtype, wanted.dtype);
      EXPECT_EQ(Shape(got->shape.begin(), got->shape.end()), wanted.shape);
      ASSERT_EQ(got->bytes, wanted.content.size());
      if (wanted.device == null()) continue;
      std::vector<std::byte> bytes(got->bytes);
      load.read_back(*got, 0, bytes.data(), bytes.size());
      const std::size_t size = bits(wanted.dtype) / 8;
      for (std::size_t i = 0; i < wanted.kept.size(); ++i) {
        if (wanted.kept[i] && wanted.memory == nullptr)
          std::memset(&bytes[i * size], 0xa5, size);  // was anything before
      }
      EXPECT_TRUE(bytes == wanted.content) << "delivered bytes differ";
      if (wanted.memory != nullptr) expect_outside_untouched(wanted);
    }
  }

 private:
  struct Wanted {
    std::string name;
    DeviceId device;
    Dtype dtype = Dtype::u8;
    Shape shape;
    Shape strides;
    std::vector<std::byte> content;
    std::vector<bool> kept;  // by element
    std::shared_ptr<std::vector<std::byte>> memory;
    std::size_t begin = 0;  // in the memory
  };

  Shape draw_shape(std::uint64_t dimensions, std::uint64_t most) {
    Shape shape(dimensions);
    for (std::uint64_t& size : shape) size = draw(1, most);
    if (!shape.empty() && draw(0, 40) == 0) shape[draw(0, shape.size() - 1)] = 0;
    return shape;
  }

  // Another shape of as many elements.
  Shape reshaped(const Shape& shape) {
    std::uint64_t left = product(shape);
    if (left == 0) return shape;
    Shape other;
    for (std::uint64_t tries = draw(0, 3); tries > 0; --tries) {
      std::vector<std::uint64_t> divisors;
      for (std::uint64_t i = 1; i <= std::min<std::uint64_t>(left, 60); ++i) {
        if (left % i == 0) divisors.push_back(i);
      }
      other.push_back(divisors[draw(0, divisors.size() - 1)]);
      left /= other.back();
    }
    other.push_back(left);
    std::shuffle(other.begin(), other.end(), random_);
    return other;
  }

  std::vector<unsigned> draw_order(std::size_t dimensions) {
    std::vector<unsigned> order(dimensions);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random_);
    return order;
  }

  // A slice of a tensor, and the counts of what it takes.
  Slice draw_slice(const Shape& shape, Shape& counts) {
    Slice slice;
    Shape seen = shape;
    if (draw(0, 2) == 0) slice.as(seen = reshaped(shape));
    for (unsigned i = 0; i < seen.size(); ++i) {
      const std::uint64_t way = draw(0, 5);
      if (way == 0) {
        const std::uint64_t begin = draw(0, seen[i]);
        const std::uint64_t count =
            draw(0, 9) == 0 ? 0 : draw(std::min<std::uint64_t>(1, seen[i] - begin), seen[i] - begin);
        slice.take(i, begin, count);
        seen[i] = count;
      } else if (way == 1 && seen[i] > 0) {
        slice.at(i, draw(0, seen[i] - 1));
        seen[i] = 1;
      } else if (way == 2) {
        for (const std::uint64_t parts : {4, 3, 2}) {
          if (seen[i] % parts != 0) continue;
          slice.part(i, draw(0, parts - 1), parts);
          seen[i] /= parts;
          break;
        }
      }
    }
    counts = seen;
    if (draw(0, 2) == 0) {
      const std::vector<unsigned> order = draw_order(seen.size());
      slice.order(order);
      for (std::size_t i = 0; i < order.size(); ++i) counts[i] = seen[order[i]];
    }
    return slice;
  }

  // The destination's shape for pieces of these counts, side by side in one of its dimensions, and their slices.
  struct Layout {
    Shape shape;
    std::vector<Slice> into;
  };
  Layout draw_layout(const Shape& counts, std::size_t pieces) {
    Shape seen = counts;  // as counted
    if (draw(0, 2) == 0) seen.insert(seen.begin() + static_cast<std::ptrdiff_t>(draw(0, seen.size())), 1);
    std::vector<std::size_t> from(seen.size());
    const std::vector<unsigned> order = draw_order(seen.size());
    const bool reorders = draw(0, 2) == 0;
    // The piece sees dimension order[i] of the destination as its i-th.
    Shape box(seen.size());
    for (std::size_t i = 0; i < seen.size(); ++i) box[reorders ? order[i] : i] = seen[i];
    if (box.empty()) {
      box = {1};
    }
    const std::size_t side = draw(0, box.size() - 1);
    Shape full = box;
    Shape begin(box.size(), 0);
    for (std::size_t i = 0; i < full.size(); ++i) {
      if (i == side || draw(0, 3) != 0) continue;
      begin[i] = draw(0, 2);
      full[i] += begin[i] + draw(0, 2);
    }
    const std::uint64_t gap = draw(0, 3) == 0 ? draw(1, 2) : 0;
    full[side] = pieces * (box[side] + gap);
    Layout layout;
    layout.shape = full;
    const bool reshapes = product(full) != 0 && draw(0, 2) == 0;
    if (reshapes) layout.shape = reshaped(full);
    for (std::size_t piece = 0; piece < pieces; ++piece) {
      Slice into;
      if (reshapes) into.as(full);
      for (unsigned i = 0; i < full.size(); ++i) {
        const std::uint64_t at = i == side ? piece * (box[i] + gap) : begin[i];
        if (at != 0 || box[i] != full[i]) into.take(i, at, box[i]);
      }
      if (reorders && !seen.empty()) into.order(order);
      layout.into.push_back(into);
    }
    return layout;
  }

  bool used(const std::string& name) const {
    for (const Rule& rule : request_.rules()) {
      if (rule.pattern() == name && !rule.targets().empty()) return true;
    }
    return false;
  }

  void add_destination(std::uint64_t number) {
    const TestTensor& first = tensors_[draw(0, tensors_.size() - 1)];
    Shape counts;
    const Slice from = draw_slice(first.shape, counts);
    std::vector<const TestTensor*> sources = {&first};
    // Others of the same shape and dtype may stand beside it.
    for (const TestTensor& other : tensors_) {
      if (other.shape == first.shape && other.dtype == first.dtype && draw(0, 1) == 0) sources.push_back(&other);
    }
    const Layout layout = draw_layout(counts, sources.size());
    // A rule has one cast for all that it goes to.
    Dtype to = first.dtype;
    for (const TestTensor* const source : sources) {
      const auto said = cast_of(source->name);
      if (said) to = *said;
    }
    if (to == first.dtype && is_castable(first.dtype) && !used(first.name) && draw(0, 1) == 0) {
      constexpr Dtype castable[] = {f32, bf16, f16, f8_e4m3, f8_e5m2, f64};
      to = castable[draw(0, 5)];
    }
    for (const TestTensor* const source : sources) {
      const auto said = cast_of(source->name);
      if ((said ? *said : used(source->name) ? source->dtype : to) != to) return;
    }
    Wanted& wanted = wanted_.emplace_back();
    wanted.name = "d" + std::to_string(number);
    wanted.device = devices_[draw(0, devices_.size() - 1)];
    wanted.dtype = to;
    wanted.shape = layout.shape;
    Destination& destination = request_.destination(wanted.name, layout.shape, to, wanted.device);
    destination.group(Group{static_cast<std::uint32_t>(draw(0, 2))});
    const bool zero = !on_host_ || draw(0, 1) == 0;
    zero ? destination.zero() : destination.keep();
    wanted.content.assign(product(layout.shape) * bits(to) / 8, zero ? std::byte{} : untouched);
    wanted.kept.assign(product(layout.shape), !zero);
    if (on_host_ && wanted.device == host() && draw(0, 1) == 0) give_memory(destination, wanted);
    for (std::size_t i = 0; i < sources.size(); ++i) {
      Rule& rule = request_.add(sources[i]->name);
      if (to != sources[i]->dtype) rule.cast(to);
      rule.to(destination, from, layout.into[i]);
      write(wanted, *sources[i], from, layout.into[i]);
    }
  }

  std::optional<Dtype> cast_of(const std::string& name) const {
    for (const Rule& rule : request_.rules()) {
      if (rule.pattern() == name) return rule.cast();
    }
    return std::nullopt;
  }

  static void write(Wanted& wanted, const TestTensor& tensor, const Slice& from, const Slice& into) {
    const std::vector<std::uint64_t> sources = elements_taken(from, tensor.shape);
    const std::vector<std::uint64_t> targets = elements_taken(into, wanted.shape);
    ASSERT_EQ(sources.size(), targets.size());
    const std::vector<std::byte> content = tensor.content();
    const std::size_t size = bits(tensor.dtype) / 8;
    const std::size_t target_size = bits(wanted.dtype) / 8;
    for (std::size_t i = 0; i < sources.size(); ++i) {
      const std::byte* const element = &content[sources[i] * size];
      std::byte* const place = &wanted.content[targets[i] * target_size];
      if (tensor.dtype == wanted.dtype) {
        std::memcpy(place, element, size);
      } else {
        cast_elements(tensor.dtype, element, wanted.dtype, place, 1);
      }
      wanted.kept[targets[i]] = false;
    }
  }

  void give_memory(Destination& destination, Wanted& wanted) {
    const std::size_t size = bits(wanted.dtype) / 8;
    std::uint64_t span = 1;
    if (draw(0, 1) == 0 && !wanted.shape.empty()) {
      wanted.strides.resize(wanted.shape.size());
      for (std::size_t i = wanted.shape.size(); i-- > 0;) {
        wanted.strides[i] = i + 1 == wanted.shape.size() ? 1 : span + draw(0, 3);
        span += wanted.shape[i] == 0 ? 0 : (wanted.shape[i] - 1) * wanted.strides[i];
      }
      destination.strides(wanted.strides);
    } else {
      span = product(wanted.shape);
    }
    const std::size_t bytes = product(wanted.shape) == 0 ? 0 : span * size;
    wanted.begin = 64 + size * draw(0, 3);
    wanted.memory = std::make_shared<std::vector<std::byte>>(wanted.begin + bytes + 64 + 16, untouched);
    const auto address = reinterpret_cast<std::uintptr_t>(wanted.memory->data());
    wanted.begin += (size - address % size) % size;
    destination.memory(wanted.memory->data() + wanted.begin, bytes);
  }

  static void expect_outside_untouched(const Wanted& wanted) {
    const std::size_t size = bits(wanted.dtype) / 8;
    std::vector<bool> inside(wanted.memory->size());
    for (std::uint64_t i = 0; i < product(wanted.shape); ++i) {
      std::uint64_t place = i;
      if (!wanted.strides.empty()) {
        place = 0;
        std::uint64_t rest = i;
        for (std::size_t d = wanted.shape.size(); d-- > 0;) {
          place += rest % wanted.shape[d] * wanted.strides[d];
          rest /= wanted.shape[d];
        }
      }
      for (std::size_t b = 0; b < size; ++b) inside[wanted.begin + place * size + b] = true;
    }
    for (std::size_t i = 0; i < inside.size(); ++i) {
      if (!inside[i] && (*wanted.memory)[i] != untouched) {
        ADD_FAILURE() << "byte " << i << " of the caller's memory was written";
        return;
      }
    }
  }

  std::mt19937_64 random_;
  const std::vector<DeviceId> devices_;
  const bool on_host_;
  std::vector<TestTensor> tensors_;
  std::vector<Wanted> wanted_;
  Request request_;
};

}  // namespace sluice
