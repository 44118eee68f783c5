// Goal: a load into the caller's memory may end at any moment, for any reason: then nothing is written any more,
// nothing beside the destinations was, what has arrived is right, the first error is told, and the engine loads again.
// Method: reloads in place that are cancelled, whose reads fail, whose Load or Engine goes away: between any two steps
// of an engine on the test's thread, and at moments that a seed draws. Thousands by hand: SLUICE_SEEDS=5000
// build/release/tests/loader_engine_test --gtest_filter='*TornLoads*'.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>

#include "tests/fallbacks/engine_here.hpp"
#include "tests/loader/support/deadline.hpp"
#include "tests/loader/support/reload_scene.hpp"
#include "tests/loader/support/sanitized.hpp"
#include "tests/loader/support/tampered_reader.hpp"

namespace sluice {
namespace {

std::uint64_t torn_seeds() {
  const char* const wish = std::getenv("SLUICE_SEEDS");
  return wish != nullptr ? std::strtoull(wish, nullptr, 10) : sanitized ? 100 : 1000;
}

class TornLoads : public testing::TestWithParam<IoMode> {
 protected:
  static Options options() {
    Options options;
    options.io = GetParam();
    options.slab_bytes = 64 << 10;
    options.staging_bytes = 256 << 10;
    options.queue_depth = 3;
    options.threads = 2;
    return options;
  }
  static StartOptions into(const std::vector<Memory>& arenas) { return {.arenas = arenas, .after = {}}; }

  /// How a load of version 1 ended that came where version 0 was. Whether it was complete.
  bool expect_ended(const Load& load, ErrorCode code) const {
    try {
      load.wait();
      scene_.expect_complete(load, 1, scene_.arenas());
      return true;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      scene_.expect_after(load, 0, 1, scene_.arenas());
      return false;
    }
  }

  const Deadline deadline_{280};
  CallersHostMemory memory_;
  const ReloadScene scene_{memory_, {host()}, options()};
};

TEST_P(TornLoads, EndBetweenAnyTwoSteps) {
  std::uint64_t steps_left = 0;
  EngineHere* running = nullptr;
  EngineHere engine(options(), [&] {
    if (steps_left > 0 && --steps_left == 0) running->running()->cancel();
  });
  running = &engine;
  // Steps depend on threads: that one load had no more of them does not say that none has.
  std::uint64_t step = 1;
  for (int whole = 0; whole < 3 && !HasFailure(); ++step) {
    SCOPED_TRACE(fmt::format("cancelled at step {}", step));
    scene_.clear();
    scene_.expect_complete(engine.run(scene_.plan(0), into(scene_.arenas())), 0, scene_.arenas());
    steps_left = step;
    const bool completed = expect_ended(engine.run(scene_.plan(1), into(scene_.arenas())), ErrorCode::cancelled);
    whole = steps_left > 0 ? whole + 1 : 0;
    EXPECT_TRUE(completed || steps_left == 0);
    steps_left = 0;
    scene_.clear();
    std::this_thread::yield();
    scene_.expect_clear();
  }
  EXPECT_GE(step, 10u);
}

TEST_P(TornLoads, EndInTheFirstReadThatFails) {
  TamperedReader* reader = nullptr;
  EngineHere engine(options(), [&](const Options& resolved, Wakeup& wakeup) {
    std::vector<Fallback> untold;
    auto made = std::make_unique<TamperedReader>(make_reader(resolved, wakeup, untold));
    reader = made.get();
    return made;
  });
  for (const int error : {EIO, 0}) {
    std::uint64_t nth = 1;
    for (;; ++nth) {
      SCOPED_TRACE(fmt::format("read {} ends with {}", nth, error));
      scene_.clear();
      scene_.expect_complete(engine.run(scene_.plan(0), into(scene_.arenas())), 0, scene_.arenas());
      reader->fail(nth, error);
      reader->fail(nth + 1, ENODEV);  // what comes after the first is not told
      const Load load = engine.run(scene_.plan(1), into(scene_.arenas()));
      if (!reader->failed()) break;
      EXPECT_FALSE(expect_ended(load, error == 0 ? ErrorCode::file_changed : ErrorCode::io));
      try {
        load.wait();
      } catch (const Error& told) {
        EXPECT_EQ(told.offset(), reader->failed()->offset + reader->failed()->bytes) << told.what();
        EXPECT_THAT(told.path(), testing::EndsWith("1.safetensors"));
      }
      reader->mend();
      if (HasFailure()) return;
    }
    reader->mend();
    EXPECT_GE(nth, scene_.plan(1).costs().extents) << "each read failed once";
  }
}

/// Ends of loads that run on threads of their own.
TEST_P(TornLoads, EndAtAnyMoment) {
  std::optional<Engine> engine(options());
  std::uint64_t torn = 0;
  for (std::uint64_t seed = 1; seed <= torn_seeds() && !HasFailure(); ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    std::mt19937_64 random(seed);
    const int before = static_cast<int>(seed % 2);
    const int after = 1 - before;
    if (seed == 1 || random() % 8 == 0) {
      scene_.clear();
      const Load whole = engine->start(scene_.plan(before), into(scene_.arenas()));
      whole.wait();
      scene_.expect_complete(whole, before, scene_.arenas());
    }
    Load load = engine->start(scene_.plan(after), into(scene_.arenas()));
    if (random() % 4 == 0) load.prefer(Group{static_cast<std::uint32_t>(random() % ReloadScene::groups)});
    // Some moment: a wait for as many turns of this thread as the seed says.
    const std::uint64_t turns = random() % (std::uint64_t{1} << (random() % 14));
    for (std::atomic<std::uint64_t> turn = 0; turn < turns; ++turn) {
    }
    switch (random() % 8) {
      case 0:
        load = Load();
        break;
      case 1:
        engine.emplace(options());  // cancels what the other runs
        break;
      case 2:
        if (!load.ready(Group{1}, host())) load.cancel();
        break;
      default:
        load.cancel();
    }
    const Load ended = std::move(load);
    try {
      if (ended) ended.wait();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::cancelled) << error.what();
      ++torn;
    }
    scene_.expect_after(ended, before, after, scene_.arenas());
    // Whole again, or the next would meet a mixture of two versions.
    const Load whole = engine->start(scene_.plan(after), into(scene_.arenas()));
    whole.wait();
    scene_.expect_complete(whole, after, scene_.arenas());
  }
  EXPECT_GT(torn, torn_seeds() / 20) << "most of them end too late";
}

INSTANTIATE_TEST_SUITE_P(Host, TornLoads, testing::Values(IoMode::direct, IoMode::automatic),
                         [](const auto& mode) { return std::string(name(mode.param)); });

}  // namespace
}  // namespace sluice
