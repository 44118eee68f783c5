// Goal: a long vector lies in huge pages, a short one costs no more than it holds, and both are vectors.
// Method: look at where elements lie and at what they are after growing.
#include "loader/base/big_vector.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <numeric>

namespace sluice {
namespace {

TEST(BigVector, KeepsItsElementsWhileItGrows) {
  BigVector<std::uint64_t> vector;
  for (std::uint64_t i = 0; i < 1'000'000; ++i) vector.push_back(i);
  EXPECT_EQ(std::accumulate(vector.begin(), vector.end(), std::uint64_t{0}), 999'999ull * 1'000'000 / 2);
  BigVector<std::uint64_t> taken = std::move(vector);
  taken.erase(taken.begin() + 10, taken.end());
  taken.shrink_to_fit();
  EXPECT_EQ(taken.back(), 9u);
}

TEST(BigVector, BeginsWithAHugePageOnceItIsLong) {
  BigVector<char> longer(huge_page_bytes);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(longer.data()) % huge_page_bytes, 0u);
  longer.back() = 'x';
  BigVector<char> shorter(huge_page_bytes - 1);
  shorter.back() = 'x';
}

TEST(BigVector, MakesElementsAsTheirTypeSays) {
  struct Element {
    int value = 7;
    std::unique_ptr<int> owned = std::make_unique<int>(value);
  };
  BigVector<Element> vector(3);
  vector.resize(100);
  for (const Element& element : vector) EXPECT_EQ(*element.owned, 7);
  vector.emplace_back().value = 8;
  EXPECT_EQ(vector.back().value, 8);
}

}  // namespace
}  // namespace sluice
