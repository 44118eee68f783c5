// Goal: an arena whose memory comes in pieces has each of them at its place, of zeros where that is asked for, and
// gives it back by itself; what the driver refuses leaves nothing behind. Method: on the simulated driver, which counts
// memory and refuses what is not mapped.
#include "cuda/reserved_arena.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "loader/base/limits.hpp"
#include "tests/sim/control.hpp"

namespace sluice {
namespace {

constexpr std::uint64_t unit = limits::piece_bytes_unit;

class ReservedArenaTest : public testing::Test {
 protected:
  ReservedArenaTest() { sim::reset(); }
  ~ReservedArenaTest() override {
    EXPECT_EQ(sim::check_leaks(), 0u);
    for (const sim::Violation& violation : sim::take_violations()) ADD_FAILURE() << violation.message;
    sim::reset();
  }

  static std::uint64_t created_bytes() {
    std::uint64_t bytes = 0;
    for (const sim::Created& created : sim::created_memory()) bytes += created.bytes;
    return bytes;
  }
};

TEST_F(ReservedArenaTest, HasMemoryWhereItWasBoundOnly) {
  if (!sim::is_simulated()) GTEST_SKIP() << "only the simulator tells what has been created";
  const auto context = std::make_shared<const Context>(0);
  ReservedArena arena(context, 5 * unit);
  EXPECT_EQ(created_bytes(), 0u);
  arena.bind(unit, unit, false);
  arena.bind(3 * unit, 2 * unit, true);
  EXPECT_EQ(created_bytes(), 3 * unit);
  std::vector<std::byte> zeros(2 * unit, std::byte{1});
  arena.read_back(arena.data() + 3 * unit, zeros.data(), zeros.size());
  EXPECT_EQ(zeros, std::vector<std::byte>(2 * unit));
  arena.unbind(unit, unit);
  EXPECT_EQ(created_bytes(), 2 * unit);
  arena.unbind(unit, unit);  // which has none: nothing happens
  EXPECT_EQ(created_bytes(), 2 * unit);
}

TEST_F(ReservedArenaTest, HasNoAddressForNoBytes) {
  EXPECT_EQ(ReservedArena(std::make_shared<const Context>(0), 0).data(), nullptr);
}

TEST_F(ReservedArenaTest, LeavesNothingBehindWhereTheDriverRefuses) {
  for (const char* const call : {"cuMemCreate", "cuMemMap", "cuMemSetAccess", "cuMemsetD8Async"}) {
    SCOPED_TRACE(call);
    sim::reset();
    ReservedArena arena(std::make_shared<const Context>(0), unit);
    sim::fail_call(call, 1, cu::Result::out_of_memory);
    EXPECT_THROW(arena.bind(0, unit, true), Error);
    EXPECT_EQ(created_bytes(), 0u);
    arena.bind(0, unit, true);
  }
}

TEST_F(ReservedArenaTest, SaysWhatTheDeviceLacks) {
  sim::Settings settings;
  settings.devices[0].granularity = 64 * unit;
  sim::reset(settings);
  const auto refusal = [] { ReservedArena(std::make_shared<const Context>(0), unit); };
  EXPECT_THAT(refusal, testing::Throws<Error>(testing::Property(&Error::message, testing::HasSubstr("units of"))));
}

}  // namespace
}  // namespace sluice
