// SliceCases: random checkpoints and random requests, of slices into destinations and of rules that deliver, cut,
// split, leave out and skip tensors, and what each byte that a load delivers must be, worked out element by element
// from what sluice/slice.hpp says: it knows no loops, runs or routes.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "loader/device/array_cast.hpp"
#include "sluice/sluice.hpp"
#include "tests/loader/support/callers_memory.hpp"
#include "tests/loader/support/shard_writer.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice {

using Shape = std::vector<std::uint64_t>;

inline std::uint64_t product(const Shape& shape) {
  return std::accumulate(shape.begin(), shape.end(), std::uint64_t{1}, std::multiplies<>());
}

/// The indices that a slice takes of each dimension, and their order.
struct Taken {
  Shape shape;                                      // as the slice sees the tensor
  std::vector<std::vector<std::uint64_t>> indices;  // by dimension of that shape
  std::vector<unsigned> order;

  Shape counts() const {
    Shape counts;
    for (const unsigned dimension : order) counts.push_back(indices[dimension].size());
    return counts;
  }
};
inline Taken indices_taken(const Slice& slice, const Shape& tensor) {
  Taken taken;
  taken.shape = slice.is_reshaped() ? Shape(slice.shape().begin(), slice.shape().end()) : tensor;
  for (const std::uint64_t size : taken.shape) {
    taken.indices.emplace_back(size);
    std::iota(taken.indices.back().begin(), taken.indices.back().end(), 0);
  }
  for (const Slice::Cut& cut : slice.cuts()) {
    std::vector<std::uint64_t>& of = taken.indices.at(cut.dimension);
    std::uint64_t begin = cut.first;
    std::uint64_t count = cut.second == Slice::rest ? of.size() - begin : cut.second;
    if (cut.kind == Slice::Cut::Kind::part) {
      count = of.size() / cut.second;
      begin = cut.first * count;
    }
    of = {of.begin() + static_cast<std::ptrdiff_t>(begin), of.begin() + static_cast<std::ptrdiff_t>(begin + count)};
  }
  taken.order.resize(taken.shape.size());
  std::iota(taken.order.begin(), taken.order.end(), 0);
  if (slice.is_reordered()) taken.order.assign(slice.dimensions().begin(), slice.dimensions().end());
  return taken;
}

/// The numbers of the elements that a slice takes of a tensor, row-major, in the order in which they count.
inline std::vector<std::uint64_t> elements_taken(const Slice& slice, const Shape& tensor) {
  const Taken of = indices_taken(slice, tensor);
  std::vector<std::uint64_t> taken = {0};
  for (const unsigned dimension : of.order) {
    std::uint64_t stride = 1;
    for (std::size_t i = dimension + 1; i < of.shape.size(); ++i) stride *= of.shape[i];
    std::vector<std::uint64_t> longer;
    longer.reserve(taken.size() * of.indices[dimension].size());
    for (const std::uint64_t before : taken) {
      for (const std::uint64_t index : of.indices[dimension]) longer.push_back(before + index * stride);
    }
    taken = std::move(longer);
  }
  return taken;
}

class SliceCase {
 public:
  static constexpr std::byte untouched{0xa5};

  /// Of `devices`. Some destinations lie in `memory`, and some keep what no rule writes: on a GPU those only, since
  /// what an arena holds is undefined there.
  SliceCase(std::uint64_t seed, std::vector<DeviceId> devices, CallersMemory& memory)
      : SliceCase(seed, std::move(devices), &memory) {}
  /// Without memory of the caller's.
  SliceCase(std::uint64_t seed, std::vector<DeviceId> devices) : SliceCase(seed, std::move(devices), nullptr) {}

  SliceCase(const SliceCase&) = delete;
  SliceCase& operator=(const SliceCase&) = delete;

  /// The tensors of a checkpoint, in an order of its own; those of another version hold other bytes.
  std::vector<TestTensor> tensors(std::uint64_t version = 0) {
    std::vector<TestTensor> all;
    for (const TensorOfCells& tensor : tensors_) all.push_back(tensor.test(version));
    if (version != 0) std::shuffle(all.begin(), all.end(), random_);
    return all;
  }
  /// Writes the tensors of a version to one shard or a few.
  void write_to(const TemporaryFolder& folder, std::uint64_t version = 0) {
    std::vector<std::vector<TestTensor>> shards(draw(1, 3));
    for (const TestTensor& tensor : tensors(version)) shards[draw(0, shards.size() - 1)].push_back(tensor);
    for (const std::vector<TestTensor>& shard : shards) {
      if (shard.empty()) continue;
      write_shard(folder, shard.front().name + ".safetensors", shard, static_cast<unsigned>(draw(0, 8)));
    }
  }
  /// That a plan for another version of the checkpoint leaves out what the first does.
  static void expect_same_left_out(const Plan& plan, const Plan& next) {
    const auto names = [](const Plan& of) {
      std::vector<std::string> all;
      for (const TensorInfo* const tensor : of.left_out()) all.emplace_back(tensor->name);
      std::sort(all.begin(), all.end());
      return all;
    };
    EXPECT_EQ(names(plan), names(next));
  }
  const Request& request() const { return request_; }
  std::uint64_t draw(std::uint64_t least, std::uint64_t most) {
    return std::uniform_int_distribution<std::uint64_t>(least, most)(random_);
  }

  /// That a load of the request that has ended holds what it must, and the caller's memory nothing else.
  void expect_right(const Load& load, std::size_t version = 0) const {
    EXPECT_EQ(load.progress().tensors_total, wanted_.size());
    for (const Wanted& wanted : wanted_) {
      const testing::ScopedTrace trace(__FILE__, __LINE__, wanted.name + " on " + name(wanted.device));
      const Tensor* const got = load.find(wanted.name, wanted.device);
      ASSERT_NE(got, nullptr);
      EXPECT_EQ(got->dtype, wanted.dtype);
      EXPECT_EQ(Shape(got->shape.begin(), got->shape.end()), in_elements(wanted.cells, wanted.dtype));
      EXPECT_EQ(got->group, wanted.group);
      EXPECT_TRUE(load.ready(wanted.group, wanted.device));
      const std::vector<std::byte>& content = wanted.content[version];
      ASSERT_EQ(got->bytes, content.size());
      if (wanted.device == null()) continue;
      expect_aligned(*got, wanted);
      std::vector<std::byte> bytes(got->bytes);
      load.read_back(*got, 0, bytes.data(), bytes.size());
      const std::size_t size = cell_bytes(wanted.dtype);
      for (std::size_t i = 0; i < wanted.kept.size(); ++i) {
        if (wanted.kept[i] && wanted.memory == nullptr)
          std::memset(&bytes[i * size], 0xa5, size);  // was anything before
      }
      EXPECT_TRUE(same_bytes(bytes, content)) << "delivered bytes differ";
      if (wanted.memory != nullptr) expect_outside_untouched(wanted);
    }
  }

 private:
  SliceCase(std::uint64_t seed, std::vector<DeviceId> devices, CallersMemory* memory)
      : random_(seed), devices_(std::move(devices)), memory_(memory) {
    const std::uint64_t count = draw(1, 5);
    for (std::uint64_t i = 0; i < count; ++i) {
      constexpr Dtype dtypes[] = {f32,       bf16,    f16,       f8_e4m3,        f64,           Dtype::i32,
                                  Dtype::u8, f8_e5m2, Dtype::f4, Dtype::f6_e2m3, Dtype::f6_e3m2};
      TensorOfCells& tensor = tensors_.emplace_back();
      tensor.dtype = dtypes[draw(0, std::size(dtypes) - 1)];
      tensor.name = "t" + std::to_string(i);
      tensor.cells = draw_shape(draw(0, 4), draw(0, 3) == 0 ? 40 : 7);
    }
    constexpr std::uint32_t alignments[] = {0, 0, 0, 0, 1, 64, 4096};
    request_.alignment_bytes = alignments[draw(0, std::size(alignments) - 1)];
    request_.devices = draw_devices();
    const std::uint64_t destinations = draw(0, 6);
    for (std::uint64_t i = 0; i < destinations; ++i) add_destination(i);
    bool all = true;  // tensors have a rule of their own
    for (const TensorOfCells& tensor : tensors_) {
      if (!used(tensor.name)) all = add_rule(tensor) && all;
    }
    add_rest(all);
  }
  /// Elements that fill bytes together count as one, the cell: of packed dtypes an innermost dimension of its own,
  /// which no slice cuts.
  static std::uint64_t cell_elements(Dtype dtype) { return bits(dtype) == 4 ? 2 : bits(dtype) == 6 ? 4 : 1; }
  static std::size_t cell_bytes(Dtype dtype) { return cell_elements(dtype) * bits(dtype) / 8; }
  static Shape in_elements(Shape cells, Dtype dtype) {
    if (cell_elements(dtype) > 1) cells.push_back(cell_elements(dtype));
    return cells;
  }
  /// A slice of cells as one of elements.
  static Slice in_elements(const Slice& cells, Dtype dtype) {
    if (cell_elements(dtype) == 1) return cells;
    Slice slice;
    if (cells.is_reshaped()) slice.as(in_elements(Shape(cells.shape().begin(), cells.shape().end()), dtype));
    for (const Slice::Cut& cut : cells.cuts()) {
      cut.kind == Slice::Cut::Kind::part ? slice.part(cut.dimension, cut.first, cut.second)
                                         : slice.take(cut.dimension, cut.first, cut.second);
    }
    if (cells.is_reordered()) {
      std::vector<unsigned> order(cells.dimensions().begin(), cells.dimensions().end());
      order.push_back(static_cast<unsigned>(order.size()));
      slice.order(order);
    }
    return slice;
  }

  struct TensorOfCells {
    std::string name;
    Dtype dtype = Dtype::u8;
    Shape cells;

    TestTensor test(std::uint64_t version) const { return {name, dtype, in_elements(cells, dtype), version}; }
  };

  struct Wanted {
    std::string name;
    DeviceId device;
    Dtype dtype = Dtype::u8;
    Group group;
    Shape cells;
    std::vector<std::byte> content[2];  // by version
    std::vector<bool> kept;             // by cell
    Shape strides;                      // by cell; of memory with a pitch
    std::byte* memory = nullptr;        // the caller's, with what lies around
    std::size_t memory_bytes = 0;
    std::size_t begin = 0;  // in the memory
  };

  Shape draw_shape(std::uint64_t dimensions, std::uint64_t most) {
    constexpr std::uint64_t cells_max = 60'000;  // a simulated GPU interprets what is cast
    Shape shape(dimensions);
    for (std::uint64_t& size : shape) size = draw(1, most);
    while (product(shape) > cells_max) shape[draw(0, dimensions - 1)] = draw(1, most);
    if (!shape.empty() && draw(0, 40) == 0) shape[draw(0, shape.size() - 1)] = 0;
    return shape;
  }

  std::vector<DeviceId> draw_devices() {
    std::vector<DeviceId> drawn = devices_;
    std::shuffle(drawn.begin(), drawn.end(), random_);
    drawn.resize(draw(1, drawn.size()));
    return drawn;
  }
  Group draw_group() { return {static_cast<std::uint32_t>(draw(0, 2) * draw(0, 2))}; }
  Dtype draw_castable() {
    constexpr Dtype castable[] = {f32, bf16, f16, f8_e4m3, f8_e5m2, f64};
    return castable[draw(0, 5)];
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

  Wanted& want(std::string its_name, DeviceId device, Dtype dtype, Group group, const Shape& cells) {
    Wanted& wanted = wanted_.emplace_back();
    wanted.name = std::move(its_name);
    wanted.device = device;
    wanted.dtype = dtype;
    wanted.group = group;
    wanted.cells = cells;
    for (std::vector<std::byte>& content : wanted.content) content.resize(product(cells) * cell_bytes(dtype));
    return wanted;
  }

  void add_destination(std::uint64_t number) {
    const TensorOfCells& first = tensors_[draw(0, tensors_.size() - 1)];
    Shape counts;
    const Slice from = draw_slice(first.cells, counts);
    std::vector<const TensorOfCells*> sources = {&first};
    // Others of the same shape and dtype may stand beside it.
    for (const TensorOfCells& other : tensors_) {
      if (other.cells == first.cells && other.dtype == first.dtype && draw(0, 1) == 0) sources.push_back(&other);
    }
    const Layout layout = draw_layout(counts, sources.size());
    // A rule has one cast for all that it goes to.
    Dtype to = first.dtype;
    for (const TensorOfCells* const source : sources) {
      const auto said = cast_of(source->name);
      if (said) to = *said;
    }
    if (to == first.dtype && is_castable(first.dtype) && !used(first.name) && draw(0, 1) == 0) to = draw_castable();
    for (const TensorOfCells* const source : sources) {
      const auto said = cast_of(source->name);
      if ((said ? *said : used(source->name) ? source->dtype : to) != to) return;
    }
    Wanted& wanted =
        want("d" + std::to_string(number), devices_[draw(0, devices_.size() - 1)], to, draw_group(), layout.shape);
    Destination& destination =
        request_.destination(wanted.name, in_elements(layout.shape, to), to, wanted.device).group(wanted.group);
    if (memory_ != nullptr && wanted.device != null() && draw(0, 1) == 0) give_memory(destination, wanted);
    const bool keeps = (wanted.device.kind != DeviceId::Kind::cuda || wanted.memory != nullptr) && draw(0, 1) == 0;
    keeps ? destination.keep() : destination.zero();
    for (std::vector<std::byte>& content : wanted.content) {
      if (keeps) std::fill(content.begin(), content.end(), untouched);
    }
    wanted.kept.assign(product(layout.shape), keeps);
    for (std::size_t i = 0; i < sources.size(); ++i) {
      Rule& rule = request_.add(sources[i]->name);
      if (to != sources[i]->dtype) rule.cast(to);
      rule.to(destination, in_elements(from, to), in_elements(layout.into[i], to));
      write(wanted, *sources[i], from, layout.into[i]);
    }
  }

  std::optional<Dtype> cast_of(const std::string& name) const {
    for (const Rule& rule : request_.rules()) {
      if (rule.pattern() == name) return rule.cast();
    }
    return std::nullopt;
  }

  /// A rule for a tensor that goes to no destination; false if it is left to the others.
  bool add_rule(const TensorOfCells& tensor) {
    const std::uint64_t way = draw(0, 5);
    if (way == 0) return false;
    Rule& rule = request_.add(tensor.name);
    if (way == 1) {
      rule.skip();
      return true;
    }
    if (draw(0, 1) == 0) rule.optional();
    std::vector<DeviceId> devices = request_.devices;
    if (draw(0, 1) == 0) rule.on(devices = draw_devices());
    Dtype to = tensor.dtype;
    if (draw(0, 1) == 0) {
      const Dtype said = draw_castable();
      rule.cast(said);
      if (is_castable(tensor.dtype)) to = said;
    }
    const Group group = draw_group();
    rule.group(group);
    Slice slice;
    if (way == 2 || way == 3) {
      Shape counts;
      slice = draw_slice(tensor.cells, counts);
      rule.take(in_elements(slice, tensor.dtype));
    }
    std::optional<unsigned> dimension;
    std::uint64_t parts = 1;
    if (way == 3 || way == 4) dimension = draw_split(rule, indices_taken(slice, tensor.cells), devices.size(), parts);
    for (std::uint64_t i = 0; i < devices.size(); ++i) {
      Slice its = slice;
      if (dimension) its.part(*dimension, i * parts / devices.size(), parts);
      deliver(tensor, devices[i], to, group, its);
    }
    return true;
  }

  /// Splits what is taken over devices, if there is a dimension that can be split.
  std::optional<unsigned> draw_split(Rule& rule, const Taken& taken, std::uint64_t devices, std::uint64_t& parts) {
    for (unsigned dimension = 0; dimension < taken.indices.size(); ++dimension) {
      for (parts = devices; parts > 1; --parts) {
        if (devices % parts != 0 || taken.indices[dimension].size() % parts != 0) continue;
        parts == devices&& draw(0, 1) == 0 ? rule.split(dimension) : rule.split(dimension, parts);
        return dimension;
      }
    }
    return std::nullopt;
  }

  /// What becomes of tensors that have no rule of their own: a pattern takes them, or they are left out.
  void add_rest(bool all) {
    request_.add("x*").optional();  // what the checkpoint does not have
    const bool takes = draw(0, 1) == 0;
    if (!takes) {
      request_.strict = all;
      return;
    }
    Rule& rest = request_.add("t?").optional();
    request_.strict = true;
    if (draw(0, 2) == 0) {
      rest.skip();
      return;
    }
    for (const TensorOfCells& tensor : tensors_) {
      const bool has_rule = std::any_of(request_.rules().begin(), request_.rules().end(),
                                        [&](const Rule& rule) { return rule.pattern() == tensor.name; });
      if (has_rule) continue;
      for (const DeviceId device : request_.devices) deliver(tensor, device, tensor.dtype, {}, {});
    }
  }

  /// A tensor of its own.
  void deliver(const TensorOfCells& tensor, DeviceId device, Dtype to, Group group, const Slice& slice) {
    Wanted& wanted = want(tensor.name, device, to, group, indices_taken(slice, tensor.cells).counts());
    write(wanted, tensor, slice, {});
  }

  static void write(Wanted& wanted, const TensorOfCells& tensor, const Slice& from, const Slice& into) {
    const std::vector<std::uint64_t> sources = elements_taken(from, tensor.cells);
    const std::vector<std::uint64_t> targets = elements_taken(into, wanted.cells);
    ASSERT_EQ(sources.size(), targets.size());
    const std::size_t size = cell_bytes(tensor.dtype);
    const std::size_t target_size = cell_bytes(wanted.dtype);
    for (const std::size_t version : {0, 1}) {
      const std::vector<std::byte> content = tensor.test(version).content();
      for (std::size_t i = 0; i < sources.size(); ++i) {
        const std::byte* const cell = &content[sources[i] * size];
        std::byte* const place = &wanted.content[version][targets[i] * target_size];
        if (tensor.dtype == wanted.dtype) {
          std::memcpy(place, cell, size);
        } else {
          cast_elements(tensor.dtype, cell, wanted.dtype, place, 1);
        }
        if (!wanted.kept.empty()) wanted.kept[targets[i]] = false;
      }
    }
  }

  void give_memory(Destination& destination, Wanted& wanted) {
    const std::size_t size = cell_bytes(wanted.dtype);
    std::uint64_t span = 1;
    if (draw(0, 1) == 0 && !wanted.cells.empty()) {
      wanted.strides.resize(wanted.cells.size());
      // Dimensions need not lie in their order.
      std::vector<unsigned> order = draw(0, 2) == 0 ? draw_order(wanted.cells.size()) : std::vector<unsigned>();
      std::erase(order, wanted.cells.size() - 1);
      for (std::size_t i = wanted.cells.size(); i-- > 0;) {
        const std::size_t at = order.empty() || i + 1 == wanted.cells.size() ? i : order[i];
        wanted.strides[at] = i + 1 == wanted.cells.size() ? 1 : span + draw(0, 3);
        span += wanted.cells[at] == 0 ? 0 : (wanted.cells[at] - 1) * wanted.strides[at];
      }
      Shape strides = wanted.strides;
      const std::uint64_t elements = cell_elements(wanted.dtype);
      if (elements > 1) {
        for (std::uint64_t& stride : strides) stride *= elements;
        strides.push_back(1);
      }
      destination.strides(strides);
    } else {
      span = product(wanted.cells);
    }
    const std::size_t bytes = product(wanted.cells) == 0 ? 0 : span * size;
    wanted.begin = 64 + natural_alignment(wanted.dtype) * draw(0, 3);
    wanted.memory_bytes = wanted.begin + bytes + 64;
    wanted.memory = memory_->allocate(wanted.device, wanted.memory_bytes);
    memory_->fill(wanted.device, wanted.memory, untouched, wanted.memory_bytes);
    destination.memory(wanted.memory + wanted.begin, bytes);
  }

  void expect_aligned(const Tensor& got, const Wanted& wanted) const {
    if (got.bytes == 0) return;
    const auto address = reinterpret_cast<std::uintptr_t>(got.data);
    const std::uint64_t asked = wanted.memory != nullptr ? 0 : request_.alignment_bytes;
    EXPECT_EQ(address % (asked != 0 ? asked : natural_alignment(wanted.dtype)), 0u);
    if (wanted.memory != nullptr) {
      EXPECT_EQ(got.data, wanted.memory + wanted.begin);
    }
  }

  void expect_outside_untouched(const Wanted& wanted) const {
    const std::size_t size = cell_bytes(wanted.dtype);
    std::vector<bool> inside(wanted.memory_bytes);
    for (std::uint64_t i = 0; i < product(wanted.cells); ++i) {
      std::uint64_t place = i;
      if (!wanted.strides.empty()) {
        place = 0;
        std::uint64_t rest = i;
        for (std::size_t d = wanted.cells.size(); d-- > 0;) {
          place += rest % wanted.cells[d] * wanted.strides[d];
          rest /= wanted.cells[d];
        }
      }
      for (std::size_t b = 0; b < size; ++b) inside[wanted.begin + place * size + b] = true;
    }
    const std::vector<std::byte> memory = memory_->read(wanted.device, wanted.memory, wanted.memory_bytes);
    for (std::size_t i = 0; i < inside.size(); ++i) {
      if (!inside[i] && memory[i] != untouched) {
        ADD_FAILURE() << "byte " << i << " of the caller's memory was written";
        return;
      }
    }
  }

  std::mt19937_64 random_;
  const std::vector<DeviceId> devices_;
  CallersMemory* const memory_;
  std::vector<TensorOfCells> tensors_;
  std::vector<Wanted> wanted_;
  Request request_;
};

}  // namespace sluice
