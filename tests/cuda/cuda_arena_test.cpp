// Goal: an arena on a GPU is aligned, and reads back any range of it, to the byte.
// Method: on the simulated driver, an arena filled by a copy of noise.
#include "cuda/cuda_arena.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "tests/loader/support/temporary_folder.hpp"
#include "tests/sim/control.hpp"

namespace sluice {
namespace {

constexpr std::uint64_t arena_bytes = (std::uint64_t{3} << 20) + 77;

class CudaArenaTest : public testing::Test {
 protected:
  CudaArenaTest() { sim::reset(); }
  ~CudaArenaTest() override {
    EXPECT_EQ(sim::check_leaks(), 0u);
    for (const sim::Violation& violation : sim::take_violations()) ADD_FAILURE() << violation.message;
  }
};

TEST_F(CudaArenaTest, BeginsAtAPage) {
  const CudaArena arena(std::make_shared<const Context>(0), arena_bytes);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(arena.data()) % 4096, 0u);
}

TEST_F(CudaArenaTest, HasNoAddressForNoBytes) {
  const CudaArena arena(std::make_shared<const Context>(0), 0);
  EXPECT_EQ(arena.data(), nullptr);
  arena.read_back(0, nullptr, 0);
}

TEST_F(CudaArenaTest, ReadsBackAnyRange) {
  const auto context = std::make_shared<const Context>(0);
  const CudaArena arena(context, arena_bytes);
  const std::vector<std::byte> bytes = noise(arena_bytes);
  {
    const CurrentContext current(*context);
    const PinnedMemory pinned(*context, arena_bytes);
    std::memcpy(pinned.data(), bytes.data(), bytes.size());
    const Stream stream(*context);
    const auto target = reinterpret_cast<cu::DevicePointer>(arena.data());
    context->check(context->driver().cuMemcpyHtoDAsync(target, pinned.data(), arena_bytes, stream.handle()), "copy");
    stream.synchronize();
  }
  for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{4097}, arena_bytes - 1}) {
    for (const std::uint64_t count : {std::uint64_t{1}, std::uint64_t{33}, std::uint64_t{1} << 20, arena_bytes}) {
      const std::uint64_t size = std::min(count, arena_bytes - offset);
      std::vector<std::byte> got(size);
      arena.read_back(offset, got.data(), size);
      const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(offset);
      EXPECT_TRUE(std::equal(got.begin(), got.end(), begin)) << offset << ' ' << size;
    }
  }
}

}  // namespace
}  // namespace sluice
