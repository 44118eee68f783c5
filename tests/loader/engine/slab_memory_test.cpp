// Goal: slabs' memory is pinned in whole slabs, each span once and given back once; a refusal leaves less, or other,
// memory and says so.
// Method: a pinner that keeps a list and can refuse; the wakeup tells when a worker has pinned more.
#include "loader/engine/slab_memory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/mempolicy.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <mutex>

#include "loader/base/limits.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t mib = 1ull << 20;

class ListingPinner final : public Pinner {
 public:
  int numa_node() const noexcept override { return node; }
  void pin(std::span<std::byte> memory) override {
    const std::lock_guard lock(mutex);
    if (memory.empty()) ADD_FAILURE() << "there is nothing to pin";
    if (++pins > pins_allowed) throw Error(ErrorCode::out_of_memory, "no more is pinned");
    if (!pinned.emplace(memory.data(), memory.size()).second) ADD_FAILURE() << "pinned twice";
  }
  void unpin(std::span<std::byte> memory) noexcept override {
    const std::lock_guard lock(mutex);
    const auto at = pinned.find(memory.data());
    if (at == pinned.end() || at->second != memory.size()) {
      ADD_FAILURE() << "never pinned";
    } else {
      pinned.erase(at);
    }
  }
  std::span<std::byte> allocate(std::uint64_t bytes) override {
    if (bytes > allocation_bytes_max) throw Error(ErrorCode::out_of_memory, "no more is allocated");
    allocated = Mapping(bytes, "a test");
    return {allocated.data(), bytes};
  }
  void free(std::span<std::byte> memory) noexcept override {
    EXPECT_EQ(memory.data(), allocated.data());
    allocated = {};
  }

  std::mutex mutex;
  std::map<std::byte*, std::size_t> pinned;
  int node = 0;
  int pins = 0;
  int pins_allowed = 1000;
  std::uint64_t allocation_bytes_max = 1ull << 40;
  Mapping allocated;
};

/// -1 where the system does not tell.
int node_of(const std::byte* byte) {
  int node = -1;
  syscall(SYS_get_mempolicy, &node, nullptr, 0, byte, MPOL_F_NODE | MPOL_F_ADDR);
  return node;
}

class SlabMemoryTest : public testing::Test {
 protected:
  std::unique_ptr<SlabMemory> make(std::uint64_t slab_bytes, std::uint32_t count) {
    return std::make_unique<SlabMemory>(slab_bytes, count, workers_, wakeup_);
  }
  /// When the first `used_bytes` of it have been pinned, or refused.
  std::unique_ptr<SlabMemory> make_pinned(std::uint64_t slab_bytes, std::uint32_t count, std::uint64_t used_bytes = 0) {
    auto memory = make(slab_bytes, count);
    memory->pin(pinner_, used_bytes);
    do {
      wait_for_wakeup();
      wakeup_.clear();
    } while (!memory->is_ready_for_lanes(memory->bytes().data() + used_bytes) && memory->refusal().empty());
    return memory;
  }
  void grow(SlabMemory& memory) {
    memory.grow();
    wait_for_wakeup();
    wakeup_.clear();
  }
  void wait_for_wakeup() const {
    pollfd descriptor{wakeup_.fd(), POLLIN, 0};
    ASSERT_EQ(poll(&descriptor, 1, -1), 1);
  }

  const std::shared_ptr<ListingPinner> pinner_ = std::make_shared<ListingPinner>();
  Wakeup wakeup_;
  Workers workers_{1};
};

TEST_F(SlabMemoryTest, IsAllReadyAtOnceWhereNobodyPinsIt) {
  const auto memory = make(4 * mib, 20);
  EXPECT_EQ(memory->bytes().size(), 80 * mib);
  EXPECT_EQ(memory->ready_bytes(), 80 * mib);
  EXPECT_TRUE(memory->is_ready_for_lanes(memory->bytes().data() + 76 * mib));
  EXPECT_EQ(memory->refusal(), "");
}

TEST_F(SlabMemoryTest, IsReadyInWholeSlabsWhileMoreIsPinned) {
  const std::uint64_t slab_bytes = 3 * mib;
  auto memory = make_pinned(slab_bytes, 40);
  std::uint64_t before = 0;
  while (memory->ready_bytes() < 40 * slab_bytes) {
    const std::uint64_t ready = memory->ready_bytes();
    EXPECT_GT(ready, 0u);
    EXPECT_EQ(ready % slab_bytes, 0u);
    EXPECT_GT(ready, before);
    EXPECT_TRUE(memory->is_ready_for_lanes(memory->bytes().data() + ready - slab_bytes));
    EXPECT_FALSE(memory->is_ready_for_lanes(memory->bytes().data() + ready));
    before = ready;
    grow(*memory);
  }
  {
    const std::lock_guard lock(pinner_->mutex);
    EXPECT_GT(pinner_->pinned.size(), 1u);
    for (const auto& [begin, bytes] : pinner_->pinned) EXPECT_EQ(bytes % slab_bytes, 0u) << "a slab lies in two spans";
  }
  memory.reset();
  EXPECT_TRUE(pinner_->pinned.empty());
}

TEST_F(SlabMemoryTest, IsPinnedNoSoonerThanItIsAskedFor) {
  const auto memory = make_pinned(4 * mib, 40);
  const std::uint64_t first = memory->ready_bytes();
  EXPECT_LT(first, 160 * mib);
  EXPECT_EQ(pinner_->pins, 1);
  memory->grow();
  memory->grow();  // somebody is at it, or has been
  wait_for_wakeup();
  EXPECT_GT(memory->ready_bytes(), first);
}

TEST_F(SlabMemoryTest, IsPinnedAsFarAsItIsInUseAndReadInto) {
  auto memory = make(8 * mib, 16);
  std::memset(memory->bytes().data(), 7, 40 * mib);
  memory->pin(pinner_, 40 * mib);
  EXPECT_EQ(memory->ready_bytes(), 64 * mib) << "whole chunks, from the beginning on";
  memory->pin(pinner_, 0);  // it is, or is about to be
  while (!memory->is_ready_for_lanes(memory->bytes().data() + 56 * mib)) {
    wait_for_wakeup();
    wakeup_.clear();
  }
  EXPECT_EQ(pinner_->pins, 2);
  EXPECT_FALSE(memory->is_ready_for_lanes(memory->bytes().data() + 64 * mib));
  EXPECT_EQ(memory->bytes()[40 * mib - 1], std::byte{7});
  memory.reset();
  EXPECT_TRUE(pinner_->pinned.empty());
}

TEST_F(SlabMemoryTest, SaysThatItLiesOnAnotherNodeWhereItWasInUseBefore) {
  const auto here = make(8 * mib, 2);
  here->bytes()[0] = std::byte{7};
  here->pin(pinner_, 8 * mib);
  if (here->lies_elsewhere()) GTEST_SKIP() << "this thread does not run on node 0";
  const auto elsewhere = make(8 * mib, 2);
  elsewhere->bytes()[0] = std::byte{7};
  const auto far = std::make_shared<ListingPinner>();
  far->node = 7;
  elsewhere->pin(far, 8 * mib);
  EXPECT_EQ(elsewhere->lies_elsewhere(), node_of(elsewhere->bytes().data()) == 0) << "or the system does not tell";
  const auto untouched = make(8 * mib, 2);
  untouched->pin(far, 0);
  EXPECT_FALSE(untouched->lies_elsewhere());
}

TEST_F(SlabMemoryTest, OfOneSlabThatIsLongerThanAChunkIsPinnedInOnePiece) {
  const auto memory = make_pinned(limits::slab_bytes_max, 1);
  EXPECT_EQ(memory->ready_bytes(), limits::slab_bytes_max);
  EXPECT_EQ(pinner_->pinned.size(), 1u);
}

TEST_F(SlabMemoryTest, IsLessWhereLaterChunksAreRefused) {
  pinner_->pins_allowed = 2;
  auto memory = make_pinned(8 * mib, 16);
  while (memory->refusal().empty()) grow(*memory);
  memory->grow();  // nobody tries again
  EXPECT_EQ(memory->ready_bytes(), 64 * mib);
  EXPECT_THAT(memory->refusal(), HasSubstr("no more is pinned"));
  EXPECT_THAT(memory->refusal(), HasSubstr("67108864 of 134217728 bytes"));
  EXPECT_FALSE(memory->was_refused());
  memory.reset();
  EXPECT_TRUE(pinner_->pinned.empty());
}

TEST_F(SlabMemoryTest, IsLostWhereWhatWasInUseIsRefused) {
  pinner_->pins_allowed = 1;
  const auto memory = make_pinned(8 * mib, 16, 100 * mib);
  while (memory->refusal().empty()) wait_for_wakeup();
  EXPECT_EQ(memory->ready_bytes(), 32 * mib);
  EXPECT_FALSE(memory->is_lost(memory->bytes().data() + 24 * mib));
  EXPECT_TRUE(memory->is_lost(memory->bytes().data() + 32 * mib));
}

TEST_F(SlabMemoryTest, IsAllocatedPinnedWhereThatIsTheOnlyWay) {
  pinner_->pins_allowed = 0;
  auto memory = make_pinned(8 * mib, 16);
  EXPECT_TRUE(memory->was_refused());
  EXPECT_EQ(memory->ready_bytes(), 0u);
  EXPECT_TRUE(memory->is_lost(memory->bytes().data()));
  memory->allocate();
  EXPECT_EQ(memory->bytes().data(), pinner_->allocated.data());
  EXPECT_EQ(memory->ready_bytes(), 128 * mib);
  EXPECT_TRUE(memory->is_ready_for_lanes(memory->bytes().data() + 120 * mib));
  EXPECT_THAT(memory->refusal(), HasSubstr("no more is pinned"));
  memory.reset();
  EXPECT_EQ(pinner_->allocated.data(), nullptr);
}

TEST_F(SlabMemoryTest, IsAllocatedInHalvesUntilThatIsGranted) {
  pinner_->pins_allowed = 0;
  pinner_->allocation_bytes_max = 20 * mib;
  const auto memory = make_pinned(8 * mib, 5);
  memory->allocate();
  EXPECT_EQ(memory->bytes().size(), 16 * mib);
  EXPECT_EQ(memory->ready_bytes(), 16 * mib);
}

TEST_F(SlabMemoryTest, IsAnErrorWhereNotOneSlabCanBePinned) {
  pinner_->pins_allowed = 0;
  pinner_->allocation_bytes_max = 0;
  const auto memory = make_pinned(8 * mib, 5);
  EXPECT_THROW(memory->allocate(), Error);
}

TEST_F(SlabMemoryTest, IsPinnedToItsEndHoweverOftenItIsAskedFor) {
  for (int i = 0; i < 50 && !HasFailure(); ++i) {
    const auto memory = make(32 * mib, 2);
    memory->pin(pinner_, 0);
    while (memory->ready_bytes() < 64 * mib) memory->grow();
    for (int more = 0; more < 100; ++more) memory->grow();
  }
}

TEST_F(SlabMemoryTest, EndsWhileMoreIsBeingPinned) {
  for (int i = 0; i < 20; ++i) {
    const auto memory = make(limits::slab_bytes_unit, 2000);
    memory->pin(pinner_, 0);
    memory->grow();
  }
  EXPECT_TRUE(pinner_->pinned.empty());
}

TEST_F(SlabMemoryTest, SaysThatMemoryIsRefused) {
  try {
    make(limits::slab_bytes_max, UINT32_MAX);
    FAIL() << "four exabytes were mapped";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
    EXPECT_THAT(error.what(), HasSubstr("staging"));
  }
}

}  // namespace
}  // namespace sluice
