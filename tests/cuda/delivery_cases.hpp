// The kernel's cases: what deliver_test expects of it, and what must kill its mutants (deliver_mutants). Each is a
// number of launches, any of which may fail. Values: all of 8 and 16 bits; of F64 and F32 corners and samples. Under a
// sanitizer there are fewer.
#pragma once

#include <cstdint>
#include <ostream>
#include <vector>

#include "tests/cuda/delivery_work.hpp"
#include "tests/loader/support/sanitized.hpp"
#include "tests/loader/support/scalar_cast.hpp"

namespace sluice::delivery_cases {

using Works = std::vector<DeliveryWork>;

template <typename Visit>
void for_each_cast(Visit visit) {
  for (const Dtype from : castable_dtypes) {
    for (const Dtype to : castable_dtypes) {
      if (from != to) visit(from, to);
    }
  }
}

inline Works does_nothing_without_pieces() {
  Works works(1);
  works[0].add_untouched(64);
  return works;
}

inline Works casts_a_few_elements() {
  Works works;
  for_each_cast([&](Dtype from, Dtype to) {
    works.emplace_back().add({.from = from, .to = to, .elements = 300, .source_skew = 5});
  });
  return works;
}

inline Works copies_every_length_from_and_to_any_alignment() {
  Works works(1);
  DeliveryWork& work = works[0];
  for (std::uint32_t length = 1; length <= 4'100; length += sanitized ? 13 : 1) {
    work.add({.elements = length, .source_skew = work.draw(0, 15), .target_skew = work.draw(0, 15)});
  }
  return works;
}

inline Works copies_from_every_alignment_to_every_other() {
  Works works(1);
  DeliveryWork& work = works[0];
  for (std::uint32_t source_skew = 0; source_skew < 16; ++source_skew) {
    for (std::uint32_t target_skew = 0; target_skew < 16; ++target_skew) {
      for (const std::uint32_t edge : {0, 16, 32, 48, 2048}) {
        if (edge == 2048 && sanitized) continue;
        work.add({.elements = edge + work.draw(1, 16), .source_skew = source_skew, .target_skew = target_skew});
      }
    }
  }
  return works;
}

inline Works casts_from_every_alignment_to_every_place_of_a_vector() {
  Works works;
  for_each_cast([&](Dtype from, Dtype to) {
    DeliveryWork& work = works.emplace_back();
    for (std::uint32_t source_skew = 0; source_skew < 16; ++source_skew) {
      for (std::uint32_t element = 0; element < 8; ++element) {
        if (sanitized && work.draw(0, 7) != 0) continue;
        work.add({.from = from,
                  .to = to,
                  .elements = work.draw(1, 30),
                  .source_skew = source_skew,
                  .target_skew = element * bits(to) / 8});
      }
    }
  });
  return works;
}

inline Works casts_every_length_around_the_edges_of_vectors_and_tiles() {
  Works works;
  for_each_cast([&](Dtype from, Dtype to) {
    DeliveryWork& work = works.emplace_back();
    const auto add = [&](std::uint32_t elements) {
      if (sanitized && work.draw(0, 7) != 0) return;
      work.add({.from = from,
                .to = to,
                .elements = elements,
                .source_skew = work.draw(0, 15),
                .target_skew = work.draw(0, 7) * bits(to) / 8});
    };
    for (std::uint32_t elements = 1; elements <= 33; ++elements) add(elements);
    for (std::uint32_t elements = 1'015; elements <= 1'033; elements += 3) add(elements);
    for (std::uint32_t elements = 4'088; elements <= 4'104; elements += 8) add(elements);
  });
  return works;
}

inline Works casts_every_value_of_eight_and_sixteen_bits() {
  Works works;
  for_each_cast([&](Dtype from, Dtype to) {
    if (bits(from) > 16) return;
    // Each value as each of a vector's elements, which the kernel's code treats one by one.
    for (std::uint32_t element = 0; element < (sanitized ? 1 : 8); ++element) {
      DeliveryWork& work = works.emplace_back(1 + element);
      work.add_all_values(from, to, work.draw(0, 15), element * bits(to) / 8);
    }
  });
  return works;
}

inline Works casts_corners_and_samples_of_large_formats() {
  Works works;
  for_each_cast([&](Dtype from, Dtype to) {
    if (bits(from) <= 16) return;
    DeliveryWork& work = works.emplace_back();
    work.add({.from = from, .to = to, .elements = sanitized ? 3'000u : 50'000u, .source_skew = 8});
  });
  return works;
}

inline Works reads_nothing_beyond_scratch_and_writes_nothing_beyond_the_arena() {
  // One piece that is all of the extent, but for its first bytes, and all of the arena.
  Works works;
  const auto deliver = [&](Dtype from, Dtype to) {
    for (std::uint32_t skew = 0; skew < 16; ++skew) {
      DeliveryWork& work = works.emplace_back(skew);
      work.add({.from = from,
                .to = to,
                .elements = work.draw(1, 40),
                .source_skew = skew,
                .target_skew = from == to ? work.draw(0, 15) : work.draw(0, 7) * bits(to) / 8});
    }
  };
  deliver(Dtype::u8, Dtype::u8);
  for_each_cast(deliver);
  return works;
}

inline Works places_strided_rows() {
  Works works;
  const auto deliver = [&](Dtype from, Dtype to) {
    DeliveryWork& work = works.emplace_back();
    for (const std::uint32_t rows : {2, 7, 130}) {
      for (const std::uint32_t elements : {1, 2, 8, 17, 64}) {
        if (sanitized && work.draw(0, 3) != 0) continue;
        work.add({.from = from,
                  .to = to,
                  .elements = elements,
                  .rows = rows,
                  .source_gap = work.draw(0, 40),
                  .target_gap = work.draw(0, 10) * bits(to) / 8,
                  .source_skew = work.draw(0, 15)});
      }
    }
  };
  deliver(Dtype::u8, Dtype::u8);
  deliver(f32, bf16);
  deliver(bf16, f8_e4m3);
  deliver(f8_e5m2, f64);
  return works;
}

inline Works places_many_small_pieces_beside_a_large_one() {
  Works works(1);
  DeliveryWork& work = works[0];
  const std::uint32_t count = sanitized ? 300 : 5'000;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (i == count / 2) work.add({.elements = 1 << 18, .source_skew = 3});
    work.add({.elements = 64, .source_skew = 8 * (i % 2), .target_skew = 16 * (i % 3)});
    if (i % 16 == 0) work.add({.from = f32, .to = bf16, .elements = 16});
  }
  return works;
}

inline Works finds_each_of_any_number_of_pieces() {
  Works works;
  for (std::uint32_t count = 1; count <= 20; ++count) {
    DeliveryWork& work = works.emplace_back(count);
    // Of one tile, mostly, and of two and three.
    for (std::uint32_t i = 0; i < count; ++i) {
      work.add({.elements = i % 3 == 0 ? 2'048 * work.draw(1, 2) : work.draw(1, 40), .source_skew = work.draw(0, 15)});
    }
  }
  return works;
}

struct Case {
  const char* name;
  Works (*works)();
};

inline void PrintTo(const Case& one, std::ostream* out) {
  *out << one.name;
}

inline constexpr Case all[] = {
    {"DoesNothingWithoutPieces", does_nothing_without_pieces},
    {"CastsAFewElements", casts_a_few_elements},
    {"CopiesEveryLengthFromAndToAnyAlignment", copies_every_length_from_and_to_any_alignment},
    {"CopiesFromEveryAlignmentToEveryOther", copies_from_every_alignment_to_every_other},
    {"CastsFromEveryAlignmentToEveryPlaceOfAVector", casts_from_every_alignment_to_every_place_of_a_vector},
    {"CastsEveryLengthAroundTheEdgesOfVectorsAndTiles", casts_every_length_around_the_edges_of_vectors_and_tiles},
    {"CastsEveryValueOfEightAndSixteenBits", casts_every_value_of_eight_and_sixteen_bits},
    {"CastsCornersAndSamplesOfLargeFormats", casts_corners_and_samples_of_large_formats},
    {"ReadsNothingBeyondScratchAndWritesNothingBeyondTheArena",
     reads_nothing_beyond_scratch_and_writes_nothing_beyond_the_arena},
    {"PlacesStridedRows", places_strided_rows},
    {"FindsEachOfAnyNumberOfPieces", finds_each_of_any_number_of_pieces},
    {"PlacesManySmallPiecesBesideALargeOne", places_many_small_pieces_beside_a_large_one},
};

}  // namespace sluice::delivery_cases
