// Goal: the table that is written for any deliveries says of every element of theirs, once, where it comes from, where
// it goes and what it becomes, and nothing else. Method: random deliveries, some of which continue each other; the
// table is carried out by a model that is written from the comments of cuda/delivery_format.hpp, warp by warp, and
// compared with the deliveries worked out one by one.
#include "cuda/delivery_table.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <cstring>
#include <map>
#include <ostream>
#include <vector>

#include "loader/base/limits.hpp"
#include "tests/cuda/deliveries.hpp"
#include "tests/loader/support/scalar_cast.hpp"

namespace sluice {
namespace {

// --- what is delivered, element by element --------------------------------------------------------------------------

std::uint32_t bytes_of(Dtype dtype) {
  return bits(dtype) / 8;
}

struct Moved {
  std::uint64_t source_offset;
  Piece::Element from;
  Piece::Element to;
  bool operator==(const Moved&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Moved& moved) {
  return out << moved.source_offset << " as " << static_cast<int>(moved.from) << " to " << static_cast<int>(moved.to);
}

using MovedTo = std::map<std::uint64_t, Moved>;  // by offset in the arena

Piece::Element element_of(Dtype dtype) {
  static const std::map<Dtype, Piece::Element> elements = {
      {f64, Piece::Element::f64},   {f32, Piece::Element::f32},         {f16, Piece::Element::f16},
      {bf16, Piece::Element::bf16}, {f8_e4m3, Piece::Element::f8_e4m3}, {f8_e5m2, Piece::Element::f8_e5m2},
  };
  return elements.at(dtype);
}

std::uint32_t size_of(Piece::Element element) {
  switch (element) {
    case Piece::Element::f64:
      return 8;
    case Piece::Element::f32:
      return 4;
    case Piece::Element::f16:
    case Piece::Element::bf16:
      return 2;
    default:
      return 1;
  }
}

MovedTo by_deliveries(const PlanData& plan) {
  MovedTo moved;
  for (const Delivery& delivery : plan.deliveries) {
    const Placement& placement = plan.placements[delivery.placement];
    const Dtype from = plan.catalogue->tensors[placement.tensor].dtype;
    const bool cast = from != placement.dtype;
    const std::uint32_t source_size = cast ? bytes_of(from) : 1;
    const std::uint32_t target_size = cast ? bytes_of(placement.dtype) : 1;
    for (std::uint32_t row = 0; row < delivery.rows; ++row) {
      for (std::uint32_t i = 0; i < delivery.run_bytes / source_size; ++i) {
        const std::uint64_t target = delivery.target_offset + row * delivery.target_stride + i * target_size;
        const Moved element{delivery.source_offset + std::uint64_t{row} * delivery.source_stride + i * source_size,
                            cast ? element_of(from) : Piece::Element::byte,
                            cast ? element_of(placement.dtype) : Piece::Element::byte};
        EXPECT_TRUE(moved.emplace(target, element).second) << "the test delivers twice to " << target;
      }
    }
  }
  return moved;
}

// --- the model of the kernel ----------------------------------------------------------------------------------------

class Model {
 public:
  Model(std::span<const std::byte> table, std::uint64_t arena_address) : arena_address_(arena_address) {
    pieces_.resize(table.size() / sizeof(Piece));
    if (!table.empty()) std::memcpy(pieces_.data(), table.data(), table.size());
  }

  MovedTo run(std::uint32_t blocks) {
    for (std::uint32_t warp = 0; warp < blocks * 8; ++warp) run_warp(warp);
    return moved_;
  }

 private:
  void run_warp(std::uint32_t tile) {
    const Piece* piece = nullptr;
    for (const Piece& candidate : pieces_) {
      if (candidate.first_tile <= tile) piece = &candidate;
    }
    if (piece == nullptr) return;
    const std::uint32_t first = (tile - piece->first_tile) * 128;
    for (std::uint32_t vector = first; vector < first + 128; ++vector) {
      const std::uint32_t row_vectors = vectors_of_row(piece->run, piece->to);
      if (vector / row_vectors < piece->rows) run_vector(*piece, vector / row_vectors, vector % row_vectors);
    }
  }

  void run_vector(const Piece& piece, std::uint32_t row, std::uint32_t vector) {
    const std::uint32_t width = piece.to == Piece::Element::byte ? 16 : 8;
    const std::uint64_t row_target = piece.target_offset + row * piece.target_stride;
    const std::uint64_t skew = (arena_address_ + row_target) / size_of(piece.to) % width;
    for (std::uint64_t i = 0; i < width; ++i) {
      const std::uint64_t element = vector * width + i - skew;  // below 0 it wraps, and is beyond the run
      if (element >= piece.run) continue;
      const std::uint64_t target = row_target + element * size_of(piece.to);
      const Moved moved{piece.source_offset + std::uint64_t{row} * piece.source_stride + element * size_of(piece.from),
                        piece.from, piece.to};
      EXPECT_TRUE(moved_.emplace(target, moved).second) << "delivered twice to " << target;
    }
  }

  std::vector<Piece> pieces_;
  std::uint64_t arena_address_;
  MovedTo moved_;
};

std::vector<std::byte> room_for(const PlanData& plan) {
  return std::vector<std::byte>(table_bytes(plan.deliveries.size()));
}

std::vector<Piece> pieces_of(const PlanData& plan) {
  std::vector<std::byte> room = room_for(plan);
  const DeliveryTable table = write_delivery_table(plan, Targets{}, plan.deliveries, room).value();
  std::vector<Piece> pieces(table.pieces);
  if (!pieces.empty()) std::memcpy(pieces.data(), room.data(), table_bytes(table.pieces));
  return pieces;
}

// --- properties -----------------------------------------------------------------------------------------------------

std::uint32_t draw(std::uint32_t least, std::uint32_t most) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange<std::uint32_t>(least, most + 1));
}

// Deliveries one behind the other, on both sides, mostly without a gap.
void draw_deliveries(Deliveries& deliveries) {
  std::uint32_t source = draw(0, 20);
  std::uint64_t target = 8 * draw(0, 20);
  Dtype from = f32;
  Dtype to = f32;
  const std::uint32_t count = draw(0, 12);
  for (std::uint32_t i = 0; i < count; ++i) {
    if (draw(0, 2) == 0) {
      from = castable_dtypes[draw(0, 5)];
      to = draw(0, 1) == 0 ? from : castable_dtypes[draw(0, 5)];
    }
    const std::uint32_t elements = draw(0, 3) == 0 ? draw(1, 3'000) : draw(1, 40);
    if (draw(0, 4) == 0) source += draw(1, 30);
    if (draw(0, 4) == 0) target += draw(1, 30);
    if (from != to) target = align_up(target, bytes_of(to));
    Delivery delivery = one_row(source, target, elements * bytes_of(from));
    const std::uint32_t target_bytes = elements * bytes_of(to);
    if (draw(0, 2) == 0) {
      delivery.rows = draw(1, elements > 40 ? 3 : 60);
      delivery.source_stride = delivery.run_bytes + draw(0, 10);
      delivery.target_stride = target_bytes + draw(0, 3) * (from == to ? 1 : bytes_of(to));
    }
    deliveries.add(from, to, delivery);
    source += (delivery.rows - 1) * delivery.source_stride + delivery.run_bytes;
    target += (delivery.rows - 1) * delivery.target_stride + target_bytes;
  }
}

RC_GTEST_PROP(DeliveryTable, CoversEveryElementOfEveryDeliveryOnce, ()) {
  Deliveries deliveries;
  draw_deliveries(deliveries);
  const PlanData& plan = deliveries.plan();
  std::vector<std::byte> room = room_for(plan);
  const DeliveryTable table = write_delivery_table(plan, Targets{}, plan.deliveries, room).value();
  const std::span<const std::byte> written = std::span(room).first(table_bytes(table.pieces));
  Model model(written, 8 * draw(0, 7));
  RC_ASSERT(model.run(table.blocks()) == by_deliveries(plan));
}

RC_GTEST_PROP(DeliveryTable, WritesNoByteMoreThanItsPiecesAndNothingWithoutRoom, ()) {
  Deliveries deliveries;
  draw_deliveries(deliveries);
  const PlanData& plan = deliveries.plan();
  const std::uint64_t bytes = table_bytes(pieces_of(plan).size());
  std::vector<std::byte> room(bytes + 100, std::byte{0xa5});
  const std::span exact = std::span(room).subspan(draw(0, 50), bytes);
  RC_ASSERT(write_delivery_table(plan, Targets{}, plan.deliveries, exact).has_value());
  std::fill(exact.begin(), exact.end(), std::byte{0xa5});
  RC_ASSERT(room == std::vector<std::byte>(room.size(), std::byte{0xa5}));
  if (bytes != 0) {
    RC_ASSERT(!write_delivery_table(plan, Targets{}, plan.deliveries, exact.first(bytes - draw(1, 60) % bytes - 1))
                   .has_value());
  }
}

// --- examples -------------------------------------------------------------------------------------------------------

TEST(DeliveryTable, OfNothingIsOneBlockThatFindsNoPiece) {
  Deliveries deliveries;
  const DeliveryTable table = write_delivery_table(deliveries.plan(), Targets{}, {}, {}).value();
  EXPECT_EQ(table.pieces, 0);
  EXPECT_EQ(table.tiles, 0);
  EXPECT_EQ(table.blocks(), 1);
}

TEST(DeliveryTable, BeginsBehindTheExtentAtAMultipleOfSixteen) {
  EXPECT_EQ(table_offset(0), 0);
  EXPECT_EQ(table_offset(1), 16);
  EXPECT_EQ(table_offset(4096), 4096);
  EXPECT_EQ(table_offset(4097), 4112);
}

TEST(DeliveryTable, JoinsCopiesThatContinueEachOtherOnBothSides) {
  Deliveries deliveries;
  deliveries.add(f32, f32, one_row(0, 256, 100));
  deliveries.add(Dtype::u8, Dtype::u8, one_row(100, 356, 3));  // copies are bytes, whatever they are called
  deliveries.add(f32, f32, one_row(103, 360, 8));              // a gap in the arena
  deliveries.add(f32, f32, one_row(112, 368, 8));              // a gap in the extent
  deliveries.add(f32, bf16, one_row(120, 376, 8));             // not a copy
  const std::vector<Piece> pieces = pieces_of(deliveries.plan());
  ASSERT_EQ(pieces.size(), 4);
  EXPECT_EQ(pieces[0].run, 103);
  EXPECT_EQ(pieces[0].from, Piece::Element::byte);
  EXPECT_EQ(pieces[3].run, 2);
}

TEST(DeliveryTable, JoinsCastsThatContinueEachOtherAlike) {
  Deliveries deliveries;
  deliveries.add(f32, bf16, one_row(0, 0, 400));
  deliveries.add(f32, bf16, one_row(400, 200, 40));
  deliveries.add(f32, f16, one_row(440, 220, 40));
  deliveries.add(f16, bf16, one_row(480, 240, 40));
  const std::vector<Piece> pieces = pieces_of(deliveries.plan());
  ASSERT_EQ(pieces.size(), 3);
  EXPECT_EQ(pieces[0].run, 110);
  EXPECT_EQ(pieces[0].from, Piece::Element::f32);
  EXPECT_EQ(pieces[0].to, Piece::Element::bf16);
}

TEST(DeliveryTable, KeepsStridedRowsInOnePiece) {
  Deliveries deliveries;
  Delivery rows = one_row(64, 128, 32);
  rows.rows = 1000;
  rows.source_stride = 96;
  rows.target_stride = 32;
  deliveries.add(f32, f32, rows);
  const std::vector<Piece> pieces = pieces_of(deliveries.plan());
  ASSERT_EQ(pieces.size(), 1);
  EXPECT_EQ(pieces[0].rows, 1000);
  EXPECT_EQ(pieces[0].source_stride, 96);
  EXPECT_EQ(pieces[0].target_stride, 32);
}

TEST(DeliveryTable, GivesAWarpToEachSmallPieceAndManyToALargeOne) {
  Deliveries deliveries;
  constexpr std::uint32_t count = 65'536;
  for (std::uint32_t i = 0; i < count; ++i) deliveries.add(Dtype::u8, Dtype::u8, one_row(64 * i, 80 * i, 64));
  const PlanData& small = deliveries.plan();
  std::vector<std::byte> room = room_for(small);
  const DeliveryTable many = write_delivery_table(small, Targets{}, small.deliveries, room).value();
  EXPECT_EQ(many.pieces, count);
  EXPECT_EQ(many.blocks(), count / 8);

  Deliveries one;
  one.add(Dtype::u8, Dtype::u8, one_row(0, 0, 8 << 20));
  const PlanData& large = one.plan();
  EXPECT_EQ(write_delivery_table(large, Targets{}, large.deliveries, room)->tiles, (8 << 20) / 2048 + 1);
}

TEST(DeliveryTable, NumbersTheTilesOfTheLargestExtent) {
  // What makes most tiles of an extent: pieces of one element, of which there are as many as bytes. Here the count
  // alone is that of the whole extent; the other bound is one piece that fills it.
  Deliveries deliveries;
  Delivery rows = one_row(0, 0, 1);
  rows.rows = limits::slab_bytes_max;
  rows.source_stride = 1;
  rows.target_stride = 2;
  deliveries.add(f8_e4m3, f64, rows);
  const PlanData& plan = deliveries.plan();
  std::vector<std::byte> room = room_for(plan);
  EXPECT_EQ(write_delivery_table(plan, Targets{}, plan.deliveries, room)->tiles, limits::slab_bytes_max / 128);

  Deliveries whole;
  whole.add(f8_e4m3, f64, one_row(0, 0, limits::slab_bytes_max));
  const PlanData& filled = whole.plan();
  EXPECT_EQ(write_delivery_table(filled, Targets{}, filled.deliveries, room)->tiles, limits::slab_bytes_max / 1024 + 1);
}

}  // namespace
}  // namespace sluice
