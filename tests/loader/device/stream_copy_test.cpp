// Goal: stream_copy() copies what it is asked to, for every length and alignment, and touches nothing else.
// Method: beside the source, byte by byte, with guard bytes around the target.
#include "loader/device/stream_copy.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "tests/loader/support/sanitized.hpp"

namespace sluice {
namespace {

constexpr std::size_t line = 64;

TEST(StreamCopy, CopiesEveryLengthFromAndToEveryAlignment) {
  constexpr std::size_t longest = 6 * line;
  constexpr std::byte around{0xa5};
  constexpr std::size_t step = sanitized ? 7 : 1;  // of alignments
  std::vector<std::byte> source(longest + 2 * line);
  for (std::size_t i = 0; i < source.size(); ++i) source[i] = static_cast<std::byte>(i * 7 % 251);
  std::vector<std::byte> target(longest + 3 * line);

  for (std::size_t length = 0; length <= longest; ++length) {
    for (std::size_t at = 0; at < line; at += step) {
      const std::size_t from = (at * 5 + length) % line;
      std::fill(target.begin(), target.end(), around);
      stream_copy(target.data() + line + at, source.data() + from, length);
      end_streams();
      const auto begin = target.begin() + static_cast<std::ptrdiff_t>(line + at);
      const auto end = begin + static_cast<std::ptrdiff_t>(length);
      const auto is_around = [](std::byte byte) { return byte == around; };
      ASSERT_TRUE(std::equal(begin, end, source.begin() + static_cast<std::ptrdiff_t>(from)))
          << length << " bytes to alignment " << at;
      ASSERT_TRUE(std::all_of(target.begin(), begin, is_around)) << length << " bytes to alignment " << at;
      ASSERT_TRUE(std::all_of(end, target.end(), is_around)) << length << " bytes to alignment " << at;
    }
  }
}

}  // namespace
}  // namespace sluice
