// Goal: an arena on a GPU is aligned, reads back any range of it, to the byte, and is mapped memory of its own wherever
// the driver gives that; where it refuses, the arena says so and is as good; what was made goes again in either case.
// Method: on the simulated driver, an arena filled by a copy of noise; each attribute that can be missing, and each
// call refused in turn.
#include "cuda/cuda_arena.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "loader/base/alignment.hpp"
#include "tests/loader/support/temporary_folder.hpp"
#include "tests/sim/control.hpp"

namespace sluice {
namespace {

constexpr std::uint64_t arena_bytes = (std::uint64_t{3} << 20) + 77;

/// In the order in which an arena makes them, and what it asks first.
constexpr const char* mapping_calls[] = {"cuMemAddressReserve", "cuMemCreate", "cuMemMap", "cuMemSetAccess"};

sim::Settings without_virtual_memory() {
  sim::Settings settings;
  for (sim::DeviceSettings& device : settings.devices) device.virtual_memory = false;
  return settings;
}

std::uint64_t calls_of(const char* call) {
  const sim::Counters counters = sim::counters();
  const auto found = counters.calls.find(call);
  return found == counters.calls.end() ? 0 : found->second;
}

class CudaArenaTest : public testing::Test {
 protected:
  CudaArenaTest() { sim::reset(); }
  ~CudaArenaTest() override { expect_clean(); }

  static void expect_clean() {
    EXPECT_EQ(sim::check_leaks(), 0u);
    for (const sim::Violation& violation : sim::take_violations()) ADD_FAILURE() << violation.message;
  }

  static void fill(const Context& context, const CudaArena& arena, const std::vector<std::byte>& bytes) {
    const CurrentContext current(context);
    const PinnedMemory pinned(context, bytes.size());
    std::memcpy(pinned.data(), bytes.data(), bytes.size());
    const Stream stream(context);
    const auto target = reinterpret_cast<cu::DevicePointer>(arena.data());
    context.check(context.driver().cuMemcpyHtoDAsync(target, pinned.data(), bytes.size(), stream.handle()), "copy");
    stream.synchronize();
  }

  /// That it lies at a page and holds what is copied to it, up to its last byte.
  static void expect_works(const std::shared_ptr<const Context>& context, const CudaArena& arena) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(arena.data()) % 4096, 0u);
    const std::vector<std::byte> bytes = noise(arena_bytes);
    fill(*context, arena, bytes);
    std::vector<std::byte> got(arena_bytes);
    arena.read_back(arena.data(), got.data(), got.size());
    EXPECT_TRUE(same_bytes(got, bytes));
  }
};

TEST_F(CudaArenaTest, BeginsAtAPage) {
  const CudaArena arena(std::make_shared<const Context>(0), arena_bytes);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(arena.data()) % 4096, 0u);
}

TEST_F(CudaArenaTest, HasNoAddressForNoBytes) {
  const CudaArena arena(std::make_shared<const Context>(0), 0);
  EXPECT_EQ(arena.data(), nullptr);
  EXPECT_EQ(arena.refusal(), "");
  arena.read_back(nullptr, nullptr, 0);
}

TEST_F(CudaArenaTest, ReadsBackAnyRange) {
  const auto context = std::make_shared<const Context>(0);
  const CudaArena arena(context, arena_bytes);
  const std::vector<std::byte> bytes = noise(arena_bytes);
  fill(*context, arena, bytes);
  for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{4097}, arena_bytes - 1}) {
    for (const std::uint64_t count : {std::uint64_t{1}, std::uint64_t{33}, std::uint64_t{1} << 20, arena_bytes}) {
      const std::uint64_t size = std::min(count, arena_bytes - offset);
      std::vector<std::byte> got(size);
      arena.read_back(arena.data() + offset, got.data(), size);
      const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(offset);
      EXPECT_TRUE(std::equal(got.begin(), got.end(), begin)) << offset << ' ' << size;
    }
  }
}

TEST_F(CudaArenaTest, IsOnePieceOfMappedMemoryInWholeUnits) {
  if (!sim::is_simulated()) GTEST_SKIP() << "another device has another granularity";
  {
    const auto context = std::make_shared<const Context>(1);
    const CudaArena arena(context, arena_bytes);
    EXPECT_EQ(arena.refusal(), "");
    const std::vector<sim::Created> created = sim::created_memory();
    ASSERT_EQ(created.size(), 1u);
    EXPECT_EQ(created[0].device, 1);
    EXPECT_EQ(created[0].bytes, align_up(arena_bytes, std::uint64_t{2} << 20));
    EXPECT_TRUE(created[0].exportable);
    EXPECT_TRUE(created[0].open_to_rdma);
    EXPECT_EQ(calls_of("cuMemAlloc"), 0u);
    expect_works(context, arena);
  }
  EXPECT_EQ(sim::created_memory().size(), 0u);
}

TEST_F(CudaArenaTest, AsksForNothingThatTheDeviceLacks) {
  sim::Settings settings;
  settings.devices[0].exports_memory = settings.devices[0].rdma_to_memory = false;
  settings.devices[0].granularity = 64 << 10;
  sim::reset(settings);
  const auto context = std::make_shared<const Context>(0);
  const CudaArena arena(context, arena_bytes);
  EXPECT_EQ(arena.refusal(), "");
  const std::vector<sim::Created> created = sim::created_memory();
  ASSERT_EQ(created.size(), 1u);
  EXPECT_EQ(created[0].bytes, align_up(arena_bytes, 64 << 10));
  EXPECT_FALSE(created[0].exportable);
  EXPECT_FALSE(created[0].open_to_rdma);
  expect_works(context, arena);
}

TEST_F(CudaArenaTest, IsAllocatedWhereTheDeviceHasNoVirtualMemory) {
  sim::reset(without_virtual_memory());
  const auto context = std::make_shared<const Context>(0);
  const CudaArena arena(context, arena_bytes);
  EXPECT_THAT(arena.refusal(), testing::HasSubstr("does not manage virtual memory"));
  EXPECT_EQ(calls_of("cuMemAlloc"), 1u);
  expect_works(context, arena);
}

TEST_F(CudaArenaTest, IsAllocatedWhereAnyCallIsRefused) {
  for (const cu::Result refusal : {cu::Result::not_supported, cu::Result::not_permitted, cu::Result::unknown}) {
    for (const char* const call :
         {"cuMemGetAllocationGranularity", "cuMemAddressReserve", "cuMemCreate", "cuMemMap", "cuMemSetAccess"}) {
      SCOPED_TRACE(fmt::format("{}: {}", call, static_cast<int>(refusal)));
      sim::reset();
      {
        const auto context = std::make_shared<const Context>(0);
        sim::fail_call(call, 1, refusal);
        const CudaArena arena(context, arena_bytes);
        EXPECT_THAT(arena.refusal(), testing::HasSubstr(call));
        EXPECT_EQ(sim::created_memory().size(), 0u) << "what was made before goes";
        EXPECT_EQ(calls_of("cuMemAlloc"), 1u);
        expect_works(context, arena);
      }
      expect_clean();
    }
  }
}

TEST_F(CudaArenaTest, EndsInOneErrorWhereMemoryIsMissing) {
  for (const char* const call : mapping_calls) {
    SCOPED_TRACE(call);
    sim::reset();
    {
      const auto context = std::make_shared<const Context>(0);
      sim::fail_call(call, 1, cu::Result::out_of_memory);
      try {
        const CudaArena arena(context, arena_bytes);
        ADD_FAILURE() << "it was made";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
        EXPECT_THAT(error.message(), testing::HasSubstr(call));
      }
      EXPECT_EQ(calls_of("cuMemAlloc"), 0u) << "there is no more of it there";
      EXPECT_EQ(sim::created_memory().size(), 0u);
    }
    expect_clean();
  }
}

TEST_F(CudaArenaTest, EndsInOneErrorWhereNeitherWayIsLeft) {
  const auto context = std::make_shared<const Context>(0);
  sim::fail_call("cuMemMap", 1, cu::Result::not_supported);
  sim::fail_call("cuMemAlloc", 1, cu::Result::out_of_memory);
  EXPECT_THROW(CudaArena(context, arena_bytes), Error);
  EXPECT_EQ(sim::created_memory().size(), 0u);
}

TEST_F(CudaArenaTest, GoesEvenWhereItsContextDied) {
  const auto context = std::make_shared<const Context>(0);
  const CudaArena arena(context, arena_bytes);
  const CurrentContext current(*context);
  const Stream stream(*context);
  sim::fail_operation(1);
  ignore(context->driver().cuMemsetD8Async(reinterpret_cast<cu::DevicePointer>(arena.data()), 0, 1, stream.handle()));
  EXPECT_THROW(stream.synchronize(), Error);
}

}  // namespace
}  // namespace sluice
