// Goal: the picture is XML that any viewer takes, whatever the checkpoint is called and whatever was measured, needs
// nothing from outside, and shows both kinds of start, their limits and the machine.
// Method: pictures of results by numbers, walked by a strict reader of the XML that they are made of.
#include "loader/tool/plot.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/loader/tool/bench_results.hpp"

namespace sluice::tool {
namespace {

using testing::HasSubstr;
using testing::Not;

/// Whether `text` has neither "<" nor an "&" that begins no entity, nor a control character but newlines.
bool is_plain(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '<' || (static_cast<unsigned char>(text[i]) < 0x20 && text[i] != '\n')) return false;
    if (text[i] != '&') continue;
    bool is_entity = false;
    for (const std::string_view entity : {"&amp;", "&lt;", "&gt;", "&quot;"}) {
      is_entity = is_entity || text.substr(i).starts_with(entity);
    }
    if (!is_entity) return false;
  }
  return true;
}

/// Of a document without attributes that hold ">": that tags are closed in their order and text is text.
void expect_well_formed(std::string_view document) {
  ASSERT_TRUE(document.starts_with(plot_first_bytes));
  document.remove_prefix(document.find("<svg"));
  std::vector<std::string> open;
  bool root_closed = false;
  while (!document.empty()) {
    const std::size_t tag = document.find('<');
    ASSERT_TRUE(is_plain(document.substr(0, tag))) << document.substr(0, 200);
    if (tag == std::string_view::npos) break;
    ASSERT_FALSE(root_closed);
    const std::size_t end = document.find('>', tag);
    ASSERT_NE(end, std::string_view::npos);
    const std::string_view inside = document.substr(tag + 1, end - tag - 1);
    ASSERT_TRUE(is_plain(inside)) << inside;
    if (inside.starts_with('/')) {
      ASSERT_FALSE(open.empty());
      ASSERT_EQ(open.back(), inside.substr(1));
      open.pop_back();
      root_closed = open.empty();
    } else if (!inside.ends_with('/')) {
      open.emplace_back(inside.substr(0, inside.find(' ')));
    }
    document.remove_prefix(end + 1);
  }
  EXPECT_TRUE(open.empty());
  EXPECT_TRUE(root_closed);
}

TEST(Plot, ShowsBothKindsOfStartTheirLimitsAndTheMachine) {
  const std::string picture = plot_bench(typical_result());
  expect_well_formed(picture);
  for (const char* said : {"cold", "warm", "/models/one", "limit: storage 2 GB/s, 83 % reached", "limit: memory",
                           "Some Processor", "ext4", "Medians of 3 rounds"}) {
    EXPECT_THAT(picture, HasSubstr(said));
  }
}

TEST(Plot, NeedsNothingFromOutside) {
  const std::string picture = plot_bench(typical_result());
  for (const char* never : {"<script", "href", "url(", "@import", "<style", "<image"}) {
    EXPECT_THAT(picture, Not(HasSubstr(never)));
  }
}

TEST(Plot, IsXmlWhateverTheCheckpointIsCalled) {
  BenchResult result = typical_result();
  result.checkpoint.path = "/a<b>&\"c\"\n\x1b[31m \xff \xef\xbf\xbf \xef\xbf\xbe -->]]>";
  const std::string picture = plot_bench(result);
  expect_well_formed(picture);
  EXPECT_THAT(picture, Not(HasSubstr("\xef\xbf\xbf")));
  EXPECT_THAT(picture, HasSubstr("/a&lt;b&gt;&amp;&quot;c&quot;\\n\\x1b[31m \\xff ? ?"));
}

TEST(Plot, IsDrawnOfWhateverThereIs) {
  BenchResult result = typical_result();
  result.cold.clear();
  expect_well_formed(plot_bench(result));
  EXPECT_THAT(plot_bench(result), Not(HasSubstr("cold")));
  // Neither limits nor bytes.
  result = {};
  result.cold = {Start{}};
  result.load.devices = {"null"};
  expect_well_formed(plot_bench(result));
  EXPECT_THAT(plot_bench(result), Not(HasSubstr("nan")));
  EXPECT_THAT(plot_bench(result), Not(HasSubstr("inf")));
}

}  // namespace
}  // namespace sluice::tool
