// Goal: mappings are aligned, fresh, populated where asked and unmapped once; memory that is free is counted.
// Method: mincore says which pages are there; an impossible size is refused.
#include "loader/base/memory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "sluice/error.hpp"

namespace sluice {
namespace {

constexpr std::uint64_t page_bytes = 4096;

// Pages of [begin, begin + bytes) that are present.
std::size_t present_pages(const std::byte* begin, std::uint64_t bytes) {
  std::vector<unsigned char> pages(bytes / page_bytes);
  EXPECT_EQ(mincore(const_cast<std::byte*>(begin), bytes, pages.data()), 0);
  return static_cast<std::size_t>(
      std::count_if(pages.begin(), pages.end(), [](unsigned char page) { return (page & 1) != 0; }));
}

TEST(Mapping, IsAlignedToHugePagesZeroAndWholePagesLong) {
  const Mapping mapping(3 * huge_page_bytes + 1, "a test");
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(mapping.data()) % huge_page_bytes, 0u);
  EXPECT_EQ(mapping.size(), 3 * huge_page_bytes + page_bytes);
  EXPECT_EQ(mapping.data()[0], std::byte{0});
  mapping.data()[mapping.size() - 1] = std::byte{1};
}

TEST(Mapping, OfNoBytesMapsNothing) {
  Mapping mapping(0, "a test");
  EXPECT_EQ(mapping.data(), nullptr);
  EXPECT_EQ(mapping.size(), 0u);
  mapping.populate(0, 0);
}

TEST(Mapping, TakesNoMemoryUntilItIsTouched) {
  const Mapping mapping(8 * huge_page_bytes, "a test");
  EXPECT_EQ(present_pages(mapping.data(), mapping.size()), 0u);
}

TEST(Mapping, PopulatesTheHugePagesThatARangeLiesInAndNoOthers) {
  Mapping mapping(4 * huge_page_bytes, "a test");
  mapping.populate(huge_page_bytes + 5, huge_page_bytes);  // reaches into the third
  EXPECT_EQ(present_pages(mapping.data(), huge_page_bytes), 0u);
  EXPECT_EQ(present_pages(mapping.data() + huge_page_bytes, 2 * huge_page_bytes), 2 * huge_page_bytes / page_bytes);
  EXPECT_EQ(present_pages(mapping.data() + 3 * huge_page_bytes, huge_page_bytes), 0u);
}

TEST(Mapping, PopulatingKeepsWhatIsThereAndEndsWithTheMapping) {
  Mapping mapping(huge_page_bytes + page_bytes, "a test");
  mapping.data()[7] = std::byte{7};
  mapping.populate(0, 10 * huge_page_bytes);
  EXPECT_EQ(mapping.data()[7], std::byte{7});
  EXPECT_EQ(present_pages(mapping.data(), mapping.size()), mapping.size() / page_bytes);
}

TEST(Mapping, MovesAndIsUnmappedOnce) {
  Mapping first(page_bytes, "a test");
  std::byte* const data = first.data();
  Mapping second(std::move(first));
  EXPECT_EQ(second.data(), data);
  Mapping third;
  third = std::move(second);
  EXPECT_EQ(third.data(), data);
  EXPECT_EQ(third.size(), page_bytes);
}

TEST(Mapping, SaysWhatItWasForWhereItIsRefused) {
  for (const std::uint64_t bytes : {UINT64_MAX, std::uint64_t{1} << 61}) {
    try {
      const Mapping mapping(bytes, "tensors");
      FAIL() << bytes << " bytes were mapped";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
      EXPECT_THAT(error.what(), testing::HasSubstr("for tensors were refused: Cannot allocate memory"));
    }
  }
}

TEST(AvailableMemory, IsNotMoreThanTheMachineHas) {
  const auto machine = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * page_bytes;
  EXPECT_GT(available_memory_bytes(), 0u);
  EXPECT_LE(available_memory_bytes(), machine);
}

TEST(PeakResidentBytes, CountsWhatWasOnceThere) {
  constexpr std::uint64_t bytes = 16 * huge_page_bytes;
  {
    Mapping mapping(bytes, "a test");
    mapping.populate(0, bytes);
  }
  EXPECT_GE(peak_resident_bytes(), bytes);
}

}  // namespace
}  // namespace sluice
