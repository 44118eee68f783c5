// ReloadScene: two checkpoints of the same tensors, a request with destinations of every kind, in memory of the
// caller's, and what each byte of that memory may be after a load that ended, however it ended: what the load says has
// arrived is new, everything else of a destination is old or new, and all else is as it was.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "loader/device/array_cast.hpp"
#include "loader/plan/access.hpp"
#include "loader/plan/plan.hpp"
#include "sluice/sluice.hpp"
#include "tests/loader/support/callers_memory.hpp"
#include "tests/loader/support/shard_writer.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice {

class ReloadScene {
 public:
  /// What the memory holds before the first load, and around all destinations always.
  static constexpr std::byte untouched{0x5a};
  static constexpr int nothing = -1;  // the version before the first load; those of the checkpoints are 0 and 1
  static constexpr std::uint32_t groups = 4;

  ReloadScene(CallersMemory& memory, std::vector<DeviceId> devices, const Options& options)
      : memory_(memory), devices_(std::move(devices)) {
    for (std::size_t rank = 0; rank < devices_.size(); ++rank) {
      blocks_.push_back({devices_[rank], memory_.allocate(devices_[rank], block_bytes), block_bytes});
      used_.push_back(0);
      ask_for_memory(rank);
      ask_for_arena(rank);
    }
    ask_for_tensors();
    std::vector<TestTensor> tensors = model();
    plans_.push_back(make_plan(Checkpoint::open(write_shard(folder_, "0.safetensors", tensors, 3)), request_, options));
    std::reverse(tensors.begin(), tensors.end());
    for (TestTensor& tensor : tensors) tensor.version = 1;
    plans_.push_back(make_plan(Checkpoint::open(write_shard(folder_, "1.safetensors", tensors, 6)), plans_[0]));
    for (const PlanCosts::OnDevice& on : plans_[0].costs().devices) {
      std::byte* const block = memory_.allocate(on.device, on.arena_bytes + 2 * guard_bytes);
      arenas_.push_back({on.device, block + guard_bytes, on.arena_bytes});
    }
    find_in_arenas();
    clear();
  }
  ReloadScene(const ReloadScene&) = delete;
  ReloadScene& operator=(const ReloadScene&) = delete;

  const std::vector<DeviceId>& devices() const { return devices_; }
  const Plan& plan(int version) const { return plans_.at(static_cast<std::size_t>(version)); }
  /// Of the caller's, as large as the plans need.
  const std::vector<Memory>& arenas() const { return arenas_; }
  std::filesystem::path folder() const { return folder_.path(); }

  /// Nothing has been loaded into the caller's memory.
  void clear() const {
    for (const Memory& block : blocks_) fill(block, 0);
    for (const Memory& arena : arenas_) fill(arena, guard_bytes);
  }

  /// A load that ended, of plan(after) into `arenas`, where `before` was: nothing but what it delivered has changed,
  /// and what it says is there is there. An empty Load stands for one that has been destroyed.
  void expect_after(const Load& load, int before, int after, const std::vector<Memory>& arenas) const {
    std::vector<Image> images = images_of(arenas);
    std::vector<bool> whole(groups * devices_.size(), bool(load));
    for (const Piece& piece : pieces_) {
      const DeviceId device = devices_[piece.rank];
      const bool arrived = load.find(piece.name, device) != nullptr;
      if (!arrived) whole[piece.group * devices_.size() + piece.rank] = false;
      expect_piece(piece, images, arrived ? after : before, after);
    }
    for (std::uint32_t group = 0; group < groups; ++group) {
      for (std::size_t rank = 0; rank < devices_.size(); ++rank) {
        EXPECT_EQ(load.ready(Group{group}, devices_[rank]), whole[group * devices_.size() + rank])
            << "group " << group << " on " << name(devices_[rank]);
      }
    }
    expect_guards(std::move(images));
  }
  /// The same of one that delivered everything.
  void expect_complete(const Load& load, int after, const std::vector<Memory>& arenas) const {
    for (const Piece& piece : pieces_) {
      ASSERT_NE(load.find(piece.name, devices_[piece.rank]), nullptr) << piece.name;
    }
    expect_after(load, nothing, after, arenas);
  }
  /// That nobody has written to the caller's memory since clear().
  void expect_clear() const {
    for (const Image& image : images_of(arenas_)) {
      EXPECT_EQ(first_written(image.bytes), image.bytes.size()) << "a byte on " << name(image.device) << " was written";
    }
  }

 private:
  static constexpr std::size_t block_bytes = 16 << 10;
  static constexpr std::size_t guard_bytes = 4096;

  struct Piece {
    std::string name;
    std::size_t rank = 0;
    std::uint32_t group = 0;
    bool in_arena = true;
    std::size_t begin = 0;           // in its block or arena
    std::vector<std::size_t> where;  // of each of its bytes, behind `begin`; empty: one after the other
    std::vector<std::byte> content[2];
  };
  /// Memory as it is at one moment, from its first guard on.
  struct Image {
    DeviceId device;
    bool is_arena = false;
    std::size_t begin = 0;  // behind the guard
    std::vector<std::byte> bytes;
  };

  std::uint64_t ranks() const { return devices_.size(); }

  /// Of one checkpoint. What is cast is small: a simulated GPU interprets it.
  std::vector<TestTensor> model() const {
    const std::uint64_t n = ranks();
    return {{"q", bf16, {8 * n, 24}},   {"down", f32, {6, 10 * n}},      {"expert.2", Dtype::u8, {500}},
            {"k", bf16, {4, 24}},       {"turned", f32, {16, 9}},        {"expert.0", Dtype::u8, {500}},
            {"some", f16, {2, 10}},     {"big", Dtype::u8, {n, 90'000}}, {"norm", bf16, {33}},
            {"cols", bf16, {5, 8 * n}}, {"expert.1", Dtype::u8, {500}},  {"packed", Dtype::f4, {4, 6}}};
  }
  std::vector<std::byte> content(const std::string& tensor, std::uint64_t version) const {
    for (TestTensor of : model()) {
      of.version = version;
      if (of.name == tensor) return of.content();
    }
    ADD_FAILURE() << tensor << " is not there";
    return {};
  }

  /// One in an arena, unless matrix() puts it elsewhere. `content_of` tells its bytes in a version.
  template <typename ContentOf>
  Piece& add_piece(std::string its_name, std::size_t rank, std::uint32_t group, const ContentOf& content_of) {
    Piece& piece = pieces_.emplace_back();
    piece.name = std::move(its_name);
    piece.rank = rank;
    piece.group = group;
    for (const int version : {0, 1}) piece.content[version] = content_of(version);
    return piece;
  }
  /// A destination in the block of its rank, `pitch` elements from row to row.
  Destination& matrix(Piece& piece, std::uint64_t rows, std::uint64_t columns, std::uint64_t pitch, Dtype dtype) {
    const std::size_t size = bits(dtype) / 8;
    piece.in_arena = false;
    piece.begin = used_[piece.rank] += 64;
    for (std::uint64_t i = 0; i < rows * columns * size; ++i) {
      piece.where.push_back(i / (columns * size) * pitch * size + i % (columns * size));
    }
    used_[piece.rank] += rows * pitch * size;
    return request_.destination(piece.name, {rows, columns}, dtype, devices_[piece.rank])
        .group({piece.group})
        .memory(static_cast<std::byte*>(blocks_[piece.rank].data) + piece.begin, ((rows - 1) * pitch + columns) * size)
        .strides({pitch, 1});
  }

  // What one device gets is said in slices, and beside them in the plain words of rows and bytes.

  void ask_for_memory(std::size_t rank) {
    Piece& fused = add_piece("fused", rank, 1, [&](int version) {
      std::vector<std::byte> bytes = slice(content("q", version), rank * 8 * 48, 8 * 48);
      append(bytes, content("k", version));
      bytes.resize(14 * 48);  // two rows of padding
      return bytes;
    });
    Destination& qk = matrix(fused, 14, 24, 32, bf16).zero();
    request_.add("q").to(qk, part(0, rank, ranks()), take(0, 0, 8));
    request_.add("k").to(qk, {}, take(0, 8, 4));

    Piece& down = add_piece("down16", rank, 2, [&](int version) {
      const std::vector<std::byte> all = content("down", version);
      std::vector<std::byte> bytes(6 * 20);
      for (std::size_t row = 0; row < 6; ++row) {
        cast_elements(f32, &all[(row * ranks() + rank) * 40], bf16, &bytes[row * 20], 10);
      }
      return bytes;
    });
    request_.add("down").cast(bf16).to(matrix(down, 6, 10, 10, bf16), part(1, rank, ranks()));

    Piece& kept = add_piece("kept", rank, 2, [&](int version) {
      std::vector<std::byte> bytes(20, untouched);
      append(bytes, content("some", version));
      bytes.resize(5 * 20, untouched);
      return bytes;
    });
    request_.add("some").to(matrix(kept, 5, 10, 13, f16).keep(), {}, take(0, 1, 2));
  }

  void ask_for_arena(std::size_t rank) {
    add_piece("turned back", rank, 0, [&](int version) {
      std::vector<std::byte> bytes;
      for (std::size_t i = 0; i < 9 * 16; ++i)
        append(bytes, slice(content("turned", version), (i % 16 * 9 + i / 16) * 4, 4));
      return bytes;
    });
    request_.add("turned").to(request_.destination("turned back", {9, 16}, f32, devices_[rank]), order({1, 0}));

    add_piece("experts", rank, 3, [&](int version) {
      std::vector<std::byte> bytes;
      for (int expert = 0; expert < 3; ++expert) append(bytes, content(fmt::format("expert.{}", expert), version));
      return bytes;
    });
    Destination& experts = request_.destination("experts", {3, 500}, Dtype::u8, devices_[rank]).group({3});
    for (std::uint64_t expert = 0; expert < 3; ++expert) {
      request_.add(fmt::format("expert.{}", expert)).to(experts, {}, at(0, expert));
    }
  }

  /// Rules that deliver tensors of their own.
  void ask_for_tensors() {
    request_.devices = devices_;
    request_.strict = true;
    request_.add("big").split(0).group({3});
    request_.add("norm").cast(f32).group({1});
    request_.add("cols").split(1).group({2});
    request_.add("packed").group({3});
    for (std::size_t rank = 0; rank < devices_.size(); ++rank) {
      add_piece("big", rank, 3, [&](int version) { return slice(content("big", version), rank * 90'000, 90'000); });
      add_piece("norm", rank, 1, [&](int version) {
        std::vector<std::byte> bytes(33 * 4);
        cast_elements(bf16, content("norm", version).data(), f32, bytes.data(), 33);
        return bytes;
      });
      add_piece("cols", rank, 2, [&](int version) {
        std::vector<std::byte> bytes;
        for (std::size_t row = 0; row < 5; ++row) {
          append(bytes, slice(content("cols", version), (row * ranks() + rank) * 16, 16));
        }
        return bytes;
      });
      add_piece("packed", rank, 3, [&](int version) { return content("packed", version); });
    }
  }

  static std::vector<std::byte> slice(const std::vector<std::byte>& of, std::size_t begin, std::size_t bytes) {
    const auto from = of.begin() + static_cast<std::ptrdiff_t>(begin);
    return {from, from + static_cast<std::ptrdiff_t>(bytes)};
  }
  static void append(std::vector<std::byte>& to, const std::vector<std::byte>& more) {
    to.insert(to.end(), more.begin(), more.end());
  }

  void find_in_arenas() {
    const PlanData& data = *Access::data(plans_[0]);
    const PlanData& other = *Access::data(plans_[1]);
    const std::vector<Tensor> tensors = plans_[0].tensors();
    const std::vector<Tensor> others = plans_[1].tensors();
    const auto find = [](const std::vector<Tensor>& all, const std::string& its_name, DeviceId device) {
      return static_cast<std::size_t>(
          std::find_if(all.begin(), all.end(),
                       [&](const Tensor& at) { return at.name == its_name && at.device == device; }) -
          all.begin());
    };
    for (Piece& piece : pieces_) {
      if (!piece.in_arena) continue;
      const std::size_t at = find(tensors, piece.name, devices_[piece.rank]);
      const std::size_t there = find(others, piece.name, devices_[piece.rank]);
      ASSERT_LT(at, tensors.size()) << piece.name;
      ASSERT_LT(there, others.size()) << piece.name;
      piece.begin = data.placements[at].arena_offset;
      EXPECT_EQ(piece.begin, other.placements[there].arena_offset) << piece.name << " lies elsewhere on reload";
    }
  }

  void fill(const Memory& memory, std::size_t guard) const {
    memory_.fill(memory.device, static_cast<std::byte*>(memory.data) - guard, untouched, memory.bytes + 2 * guard);
  }

  /// First the blocks, then the arenas, by device.
  std::vector<Image> images_of(const std::vector<Memory>& arenas) const {
    std::vector<Image> images;
    for (const Memory& block : blocks_) {
      images.push_back(
          {block.device, false, 0, memory_.read(block.device, static_cast<std::byte*>(block.data), block.bytes)});
    }
    for (const DeviceId device : devices_) {
      const auto arena =
          std::find_if(arenas.begin(), arenas.end(), [&](const Memory& memory) { return memory.device == device; });
      if (arena == arenas.end()) {
        images.push_back({device, true, 0, {}});
        continue;
      }
      const bool own =
          std::any_of(arenas_.begin(), arenas_.end(), [&](const Memory& its) { return its.data == arena->data; });
      const std::size_t guard = own ? guard_bytes : 0;
      const auto* const begin = static_cast<const std::byte*>(arena->data) - guard;
      images.push_back({device, true, guard, memory_.read(device, begin, arena->bytes + 2 * guard)});
    }
    return images;
  }

  const Image& image_of(const Piece& piece, const std::vector<Image>& images) const {
    return images[piece.rank + (piece.in_arena ? devices_.size() : 0)];
  }
  static std::size_t place_of(const Piece& piece, const Image& image, std::size_t byte) {
    return image.begin + piece.begin + (piece.where.empty() ? byte : piece.where[byte]);
  }

  /// Each of its bytes is that of one version or of the other.
  void expect_piece(const Piece& piece, const std::vector<Image>& images, int one, int other) const {
    const Image& image = image_of(piece, images);
    if (image.bytes.empty()) return;
    const std::size_t bytes = piece.content[0].size();
    const auto holds = [&](int version) {
      return version != nothing && piece.where.empty() &&
             std::equal(piece.content[version].begin(), piece.content[version].end(),
                        &image.bytes[place_of(piece, image, 0)]);
    };
    if (holds(one) || holds(other)) return;
    for (std::size_t i = 0; i < bytes; ++i) {
      const std::byte got = image.bytes.at(place_of(piece, image, i));
      const auto of = [&](int version) { return version == nothing ? untouched : piece.content[version][i]; };
      if (got == of(one) || got == of(other)) continue;
      ADD_FAILURE() << "byte " << i << " of " << bytes << " of " << piece.name << " on " << name(image.device)
                    << (one == other ? ", which has arrived, is wrong" : " is neither old nor new");
      return;
    }
  }

  /// Beside destinations nothing was written; gaps between tensors of an arena are the load's.
  void expect_guards(std::vector<Image> images) const {
    for (const Piece& piece : pieces_) {
      Image& image = images[piece.rank];
      for (std::size_t i = 0; !piece.in_arena && i < piece.content[0].size(); ++i) {
        image.bytes[place_of(piece, image, i)] = untouched;
      }
    }
    for (Image& image : images) {
      if (image.is_arena)
        image.bytes.erase(image.bytes.begin() + static_cast<std::ptrdiff_t>(image.begin),
                          image.bytes.end() - static_cast<std::ptrdiff_t>(image.begin));
      const std::size_t written = first_written(image.bytes);
      EXPECT_EQ(written, image.bytes.size())
          << "a byte of the caller's was written beside its " << (image.is_arena ? "arena" : "destinations") << " on "
          << name(image.device);
    }
  }
  static std::size_t first_written(const std::vector<std::byte>& bytes) {
    return static_cast<std::size_t>(
        std::find_if(bytes.begin(), bytes.end(), [](std::byte byte) { return byte != untouched; }) - bytes.begin());
  }

  CallersMemory& memory_;
  const std::vector<DeviceId> devices_;
  const TemporaryFolder folder_;
  Request request_;
  std::vector<Plan> plans_;
  std::vector<Memory> blocks_;
  std::vector<Memory> arenas_;
  std::vector<std::size_t> used_;  // of each block
  std::vector<Piece> pieces_;
};

}  // namespace sluice
