// Goal: how an extent is read is known ahead of its turn, and is right; whoever asks keeps nobody waiting for ever.
// Method: real shards, some of them read before; the test waits until nobody asks anything any more before it looks
// again.
#include "loader/read/paths_ahead.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <string>

#include "loader/plan/access.hpp"
#include "loader/read/null_reader.hpp"
#include "tests/loader/support/settle.hpp"
#include "tests/loader/support/small_model.hpp"

namespace sluice {
namespace {

class PathsAheadTest : public testing::Test {
 protected:
  // Shards of some extents each, and what reads them.
  void open(std::uint32_t shards, IoMode io) {
    for (std::uint32_t i = 0; i < shards; ++i) {
      const std::string name = std::to_string(i);
      write_shard(folder_, name + ".safetensors", {{name, f32, {100'000}}}, i);
    }
    Options options;
    options.slab_bytes = 64 << 10;
    Request request = everything(f32);
    request.devices = {null()};
    plan_ = Access::data(make_plan(Checkpoint::open(folder_.path()), request, options));
    files_ = std::make_unique<ShardFiles>(*plan_, reader_, io, fallbacks_, asker_);
    paths_ = std::make_unique<PathsAhead>(*plan_, *files_, io, asker_);
  }

  std::optional<ReadPath> path_of(std::uint32_t extent) {
    constexpr int turns_most = 40;
    for (int turn = 0; turn < turns_most; ++turn) {
      if (const auto path = paths_->path_of(extent)) return path;
      settle(asker_.workers());
    }
    return std::nullopt;
  }

  TemporaryFolder folder_;
  std::shared_ptr<const PlanData> plan_;
  Wakeup wakeup_;
  std::atomic<int> questions_ = 0;
  FileAsker asker_{wakeup_, [this] { ++questions_; }};
  NullReader reader_{wakeup_};
  std::vector<Fallback> fallbacks_;
  std::unique_ptr<ShardFiles> files_;
  std::unique_ptr<PathsAhead> paths_;
};

// They have just been written.
TEST_F(PathsAheadTest, WhatIsCachedIsKnownByOneQuestionAShard) {
  open(3, IoMode::automatic);
  for (std::uint32_t i = 0; i < plan_->extents.size(); ++i) EXPECT_EQ(path_of(i), ReadPath::cached) << i;
  EXPECT_GT(plan_->extents.size(), 9u);
  if (paths_->refusal().empty()) {
    EXPECT_LE(questions_, 2 * 3);
  }
}

TEST_F(PathsAheadTest, DirectReadsNeedNoQuestion) {
  open(1, IoMode::direct);
  const auto path = path_of(0);
  if (!fallbacks_.empty()) GTEST_SKIP() << fallbacks_[0].reason;
  EXPECT_EQ(path, ReadPath::direct);
  EXPECT_EQ(questions_, 1) << "to open it";
}

// A preference may lead anywhere while a shard is asked about.
TEST_F(PathsAheadTest, AShardOfWhichNobodyTakesTheAnswerMakesRoomForAnother) {
  open(2, IoMode::buffered);
  const int next = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  close(next);
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  rlimit lowered = before;
  lowered.rlim_cur = static_cast<rlim_t>(next) + 2;  // to open a file takes two for a moment
  setrlimit(RLIMIT_NOFILE, &lowered);
  while (files_->open(0) == nullptr) settle(asker_.workers());
  EXPECT_EQ(paths_->path_of(0), std::nullopt) << "it is being asked";
  const auto other = static_cast<std::uint32_t>(plan_->extents.size()) - 1;
  EXPECT_EQ(plan_->extents[other].shard, 1u);
  EXPECT_NE(path_of(other), std::nullopt);
  setrlimit(RLIMIT_NOFILE, &before);
}

}  // namespace
}  // namespace sluice
