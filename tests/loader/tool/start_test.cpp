// Goal: what a process of the tool printed is understood, and what no such process prints is an error.
// Method: objects as the tool writes them, and spoilt ones.
#include "loader/tool/start.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

#include "loader/tool/bench_json.hpp"
#include "loader/tool/json.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice::tool {
namespace {

/// What `write` prints.
template <typename Write>
std::string printed(Write write) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "printed";
  Output output(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  write(output);
  output.finish();
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Start, IsWhatLoadPrints) {
  Stats stats;
  stats.bytes = 1'000'000'000;
  stats.delivered_bytes = 999;
  stats.direct_bytes = 77;
  stats.seconds = 0.5;
  stats.open_seconds = 0.1;
  stats.plan_seconds = 0.2;
  stats.start_up_seconds = 0.05;
  stats.load_seconds = 0.15;
  stats.cpu_seconds = 1.5;
  stats.reader = ReaderKind::pread;
  stats.peak_resident_bytes = 5;
  stats.peak_staging_bytes = 6;
  stats.fallbacks = {{"io_uring", "\"refused\""}};
  const Start start = parse_start(printed([&](Output& output) { write_load_json(output, {}, {}, stats, nullptr); }));
  EXPECT_EQ(start.bytes, stats.bytes);
  EXPECT_EQ(start.delivered_bytes, stats.delivered_bytes);
  EXPECT_EQ(start.direct_bytes, stats.direct_bytes);
  EXPECT_EQ(start.seconds, stats.seconds);
  EXPECT_EQ(start.open_seconds, stats.open_seconds);
  EXPECT_EQ(start.plan_seconds, stats.plan_seconds);
  EXPECT_EQ(start.start_up_seconds, stats.start_up_seconds);
  EXPECT_EQ(start.load_seconds, stats.load_seconds);
  EXPECT_EQ(start.cpu_seconds, stats.cpu_seconds);
  EXPECT_EQ(start.reader, "pread");
  EXPECT_EQ(start.io, "mixed");
  EXPECT_EQ(start.peak_resident_bytes, stats.peak_resident_bytes);
  EXPECT_EQ(start.peak_staging_bytes, stats.peak_staging_bytes);
  EXPECT_EQ(start.gb_per_s(), 2);
}

TEST(Start, LinksAreWhatBenchLinkPrints) {
  const LinkSample sample{0.25, {{"cuda:0", "GPU \"A\"", 25e9}, {"cuda:3", "", 12.5e9}}};
  const LinkSample parsed = parse_link_sample(printed([&](Output& output) { write_link_json(output, sample); }));
  EXPECT_EQ(parsed.driver_seconds, 0.25);
  ASSERT_EQ(parsed.devices.size(), 2u);
  EXPECT_EQ(parsed.devices[0].description, "GPU \"A\"");
  EXPECT_EQ(parsed.devices[1].device, "cuda:3");
  EXPECT_EQ(parsed.devices[1].bytes_per_second, 12.5e9);
}

TEST(Start, AnythingElseIsAnError) {
  for (const char* text : {"", "{}", "[]", "{\"stats\":", "{\"stats\":{}}", "{\"stats\":{\"seconds\":\"x\"}}", "x"}) {
    EXPECT_THROW(parse_start(text), std::runtime_error) << text;
    EXPECT_THROW(parse_link_sample(text), std::runtime_error) << text;
  }
}

}  // namespace
}  // namespace sluice::tool
