// Goal: a load uses few slabs, in turn those that it used last, however many there are.
// Method: a reader that reads nothing and tells which memory it was given; once slabs have come back, no other is used
// than those of the reads in flight, or for the host of the copies.
#include "loader/engine/load_run.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <vector>

#include "loader/read/null_reader.hpp"
#include "tests/fallbacks/engine_here.hpp"
#include "tests/loader/support/forwarding_reader.hpp"
#include "tests/loader/support/shard_writer.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice {
namespace {

class WatchedReader final : public ForwardingReader {
 public:
  using ForwardingReader::ForwardingReader;

  void submit(const Read& read) override {
    paths.insert(read.path);
    targets.push_back(read.target);
    ForwardingReader::submit(read);
  }

  std::set<ReadPath> paths;
  std::vector<const std::byte*> targets;  // of all reads, in their order
};

constexpr std::uint64_t small_slab_bytes = 64 << 10;
constexpr std::uint64_t slab_count = 16;

Options options_for(IoMode io) {
  Options options;
  options.io = io;
  options.slab_bytes = small_slab_bytes;
  options.staging_bytes = slab_count * small_slab_bytes;
  options.queue_depth = 5;
  options.threads = 2;
  return options;
}

struct Used {
  std::set<ReadPath> paths;
  std::size_t slabs = 0;
  std::size_t slabs_at_most = 0;  // at a time, from the first read on
  std::uint64_t window_bytes = 0;
};

// What a load of a hundred extents used, and how many slabs from its fiftieth read on: more reads than there are slabs
// have ended by then, so lanes are open, and what is done is given back at once.
Used used_by_load(IoMode io, DeviceId device = null()) {
  const TemporaryFolder folder;
  write_shard(folder, "model.safetensors", {{"large", Dtype::u8, {100 * small_slab_bytes}}});
  const Options options = options_for(io);
  Request request;
  request.add("*").on(device);
  request.alignment_bytes = 4096;  // which the shard does not have: the host, too, reads into slabs
  const Plan plan = make_plan(Checkpoint::open(folder.path()), request, options);
  WatchedReader* reader = nullptr;
  EngineHere engine(options, [&](const Options&, Wakeup& wakeup) {
    auto made = std::make_unique<WatchedReader>(std::make_unique<NullReader>(wakeup));
    reader = made.get();
    return made;
  });
  const Load load = engine.run(plan);
  load.wait();
  EXPECT_GE(reader->targets.size(), 100u);
  return {reader->paths, std::set(reader->targets.begin() + 50, reader->targets.end()).size(),
          load.statistics().peak_staging_bytes / small_slab_bytes, load.statistics().window_bytes};
}

TEST(LoadRun, UsesASlabPerThreadThatCopiesAndOneThatWaits) {
  const Used used = used_by_load(IoMode::buffered);
  EXPECT_EQ(used.paths, std::set{ReadPath::cached}) << "what has just been written is in the page cache";
  EXPECT_EQ(used.slabs, 3u);
}

// The same threads copy into slabs and out of them: what they read ahead of themselves would leave their caches.
TEST(LoadRun, ReadsNoMoreOutOfThePageCacheThanTheHostHasTaken) {
  const Used used = used_by_load(IoMode::buffered, host());
  EXPECT_EQ(used.paths, std::set{ReadPath::cached});
  EXPECT_EQ(used.slabs_at_most, 3u);
  EXPECT_EQ(used.window_bytes, 0u) << "nothing was asked of storage";
}

TEST(LoadRun, UsesAsManySlabsAsItsQueueIsDeep) {
  const Used used = used_by_load(IoMode::direct);
  if (used.paths != std::set{ReadPath::direct}) GTEST_SKIP() << "this file system takes no direct reads";
  EXPECT_GT(used.window_bytes, 0u);
  EXPECT_EQ(used.slabs, 5u);
}

}  // namespace
}  // namespace sluice
