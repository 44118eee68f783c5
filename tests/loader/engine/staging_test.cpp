// Goal: a slab is lent to one at a time, comes back after its last use, and the peak is what was out.
// Method: a pool of a few slabs, taken and given back by hand.
#include "loader/engine/staging.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "loader/base/limits.hpp"

namespace sluice {
namespace {

constexpr std::uint64_t slab_bytes = limits::slab_bytes_unit;

std::unique_ptr<SlabMemory> ordinary(std::uint32_t slabs) {
  static Workers workers(1);
  static Wakeup wakeup;
  return std::make_unique<SlabMemory>(slab_bytes, slabs, workers, wakeup);
}

TEST(Staging, LendsEachSlabOnceAndNothingWhenAllAreOut) {
  Staging staging(slab_bytes, ordinary(3));
  const std::set<std::byte*> slabs = {staging.take(), staging.take(), staging.take()};
  EXPECT_EQ(slabs.size(), 3u);
  EXPECT_EQ(slabs.count(nullptr), 0u);
  EXPECT_EQ(staging.take(), nullptr);
}

TEST(Staging, SlabsLieSideBySideInItsMemoryAlignedForDirectReads) {
  Staging staging(slab_bytes, ordinary(3));
  EXPECT_EQ(staging.memory().bytes().size(), 3 * slab_bytes);
  for (std::byte* slab = staging.take(); slab != nullptr; slab = staging.take()) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(slab) % limits::direct_alignment_bytes, 0u);
    EXPECT_GE(slab, staging.memory().bytes().data());
    EXPECT_LE(slab + slab_bytes, staging.memory().bytes().data() + staging.memory().bytes().size());
    slab[0] = slab[slab_bytes - 1] = std::byte{1};
  }
}

TEST(Staging, GivesASlabBackOnlyAfterItsLastLane) {
  Staging staging(slab_bytes, ordinary(1));
  std::byte* const slab = staging.take();
  staging.count(slab, 3);
  staging.give_back(slab);
  staging.give_back(slab);
  EXPECT_EQ(staging.take(), nullptr);
  staging.give_back(slab);
  EXPECT_EQ(staging.take(), slab);
}

TEST(Staging, ASlabThatNoLaneCountedComesBackAtOnce) {
  Staging staging(slab_bytes, ordinary(1));
  std::byte* const slab = staging.take();
  staging.count(slab, 2);
  staging.give_back(slab);
  staging.give_back(slab);
  EXPECT_EQ(staging.take(), slab);
  staging.give_back(slab);  // a use of its own: the count of the last trip is forgotten
  EXPECT_EQ(staging.take(), slab);
}

TEST(Staging, LendsTheSlabThatCameBackLastSinceItIsWarm) {
  Staging staging(slab_bytes, ordinary(3));
  std::byte* const first = staging.take();
  std::byte* const second = staging.take();
  staging.give_back(second);
  staging.give_back(first);
  EXPECT_EQ(staging.take(), first);
  EXPECT_EQ(staging.take(), second);
}

TEST(Staging, TakesEverythingBackFromALoadThatEndedEarly) {
  Staging staging(slab_bytes, ordinary(4));
  staging.take();
  staging.count(staging.take(), 8);
  staging.give_back(staging.take());
  staging.give_back_all();
  std::set<std::byte*> slabs;
  for (int i = 0; i < 4; ++i) slabs.insert(staging.take());
  EXPECT_EQ(slabs.size(), 4u);
  EXPECT_EQ(staging.take(), nullptr);
}

TEST(Staging, PeakCountsFromTheLastCallAndBeginsWithWhatIsOut) {
  Staging staging(slab_bytes, ordinary(4));
  EXPECT_EQ(staging.take_peak_bytes(), 0u);
  std::byte* const kept = staging.take();
  std::byte* const other = staging.take();
  staging.give_back(other);
  EXPECT_EQ(staging.take_peak_bytes(), 2 * slab_bytes);
  EXPECT_EQ(staging.take_peak_bytes(), slab_bytes);
  staging.give_back(kept);
  EXPECT_EQ(staging.take_peak_bytes(), slab_bytes);
  EXPECT_EQ(staging.take_peak_bytes(), 0u);
}

}  // namespace
}  // namespace sluice
