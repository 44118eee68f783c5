// Goal: each limit is a rate, of files of any size and number, by each reader; what cannot be read is an error with its
// path; an interruption ends it.
// Method: small files. How fast anything is says nothing here.
#include "loader/tool/limit_probes.hpp"

#include <gtest/gtest.h>

#include "sluice/error.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice::tool {
namespace {

const auto go_on = [] {};

CachedFile file_of(const TemporaryFolder& folder, const std::string& name, std::uint64_t bytes) {
  return {folder.write(name, noise(bytes)), bytes, bytes};
}

TEST(LimitProbes, StorageHasARateWhateverTheFilesAre) {
  const TemporaryFolder folder;
  std::vector<CachedFile> many;
  for (int i = 0; i < 40; ++i) many.push_back(file_of(folder, "many" + std::to_string(i), 5000));
  const std::vector<std::vector<CachedFile>> cases = {
      {file_of(folder, "one byte", 1)},
      {file_of(folder, "odd", (2u << 20) + 13), file_of(folder, "empty", 0), file_of(folder, "small", 4096)},
      many,
  };
  for (const ReaderKind reader : {ReaderKind::automatic, ReaderKind::pread}) {
    for (const std::vector<CachedFile>& files : cases) {
      Options options;
      options.reader = reader;
      StorageProbe probe(files, options, go_on);
      for (const StorageSetting& setting : {storage_settings.front(), storage_settings.back()}) {
        EXPECT_GT(probe.measure(setting), 0) << files.front().path;
      }
      EXPECT_TRUE(probe.reader() == ReaderKind::pread || reader == ReaderKind::automatic);
    }
  }
}

TEST(LimitProbes, StorageThatLosesBytesIsAnErrorWithItsPath) {
  const TemporaryFolder folder;
  const CachedFile file = file_of(folder, "cut", 1u << 20);
  StorageProbe probe({file}, {}, go_on);
  std::filesystem::resize_file(file.path, 8192);
  try {
    probe.measure(storage_settings.front());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::io);
    EXPECT_EQ(error.path(), file.path.string());
  }
  std::filesystem::remove(file.path);
  EXPECT_THROW(probe.measure(storage_settings.front()), Error);
}

TEST(LimitProbes, PageCacheAndMemoryHaveRates) {
  const TemporaryFolder folder;
  const std::vector<CachedFile> files = {file_of(folder, "a", 70'000), file_of(folder, "b", (5u << 20) + 1)};
  for (const unsigned threads : {1u, 3u}) {
    EXPECT_GT(measure_page_cache(files, threads, true, go_on), 0);
    EXPECT_GT(measure_page_cache(files, threads, false, go_on), 0);
  }
  EXPECT_GT(measure_fresh_memory(2, go_on), 0);
  touch_memory(0, 2, go_on);
  touch_memory((3u << 20) + 5, 2, go_on);
}

TEST(LimitProbes, AnInterruptionEndsThem) {
  const TemporaryFolder folder;
  const std::vector<CachedFile> files = {file_of(folder, "a", 1u << 20)};
  const auto interrupt = [] { throw 7; };
  EXPECT_THROW(StorageProbe(files, {}, interrupt).measure(storage_settings.front()), int);
  EXPECT_THROW(measure_page_cache(files, 1, true, interrupt), int);
  EXPECT_THROW(measure_fresh_memory(1, interrupt), int);
  EXPECT_THROW(touch_memory(1, 1, interrupt), int);
}

}  // namespace
}  // namespace sluice::tool
