// Goal: whatever a reader may do by loader/read/reader.hpp, a load delivers every byte, or ends in the one Error that
// storage gave cause for, and the engine runs the next load. No load gets stuck, on no kind of ring.
// Method: whole loads on the test's own thread; a reader whose storage does what a seed decides, then rings with each
// set of flags. Thousands by hand: SLUICE_SEEDS=1000 build/release/tests/loader_engine_test
// --gtest_filter='*SeededLoads*'.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <ostream>
#include <string>
#include <tuple>
#include <vector>

#include "loader/read/uring_reader.hpp"
#include "tests/fallbacks/engine_here.hpp"
#include "tests/loader/support/deadline.hpp"
#include "tests/loader/support/sanitized.hpp"
#include "tests/loader/support/seeded_reader.hpp"
#include "tests/loader/support/small_model.hpp"

namespace sluice {
namespace {

/// How many engines of each kind. Sanitizers make them slow.
std::uint64_t seeds() {
  const char* const wish = std::getenv("SLUICE_SEEDS");
  return wish == nullptr ? (thread_sanitized ? 4 : sanitized ? 10 : 25) : std::strtoull(wish, nullptr, 10);
}

// A load takes milliseconds, under a sanitizer tenths of a second.
unsigned deadline_seconds() {
  return static_cast<unsigned>(120 + seeds());
}

struct Kind {
  const char* name;
  DeviceId device = host();
  std::optional<Dtype> cast = {};

  friend void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }
};

struct Weather {
  const char* name;
  Storage storage;

  friend void PrintTo(const Weather& weather, std::ostream* out) { *out << weather.name; }
};

std::ptrdiff_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return std::distance(begin(all), end(all));
}

class SeededLoads : public testing::TestWithParam<std::tuple<Kind, Weather, IoMode>> {
 protected:
  SeededLoads() {
    for (TestTensor& tensor : tensors_) {
      if (tensor.name == "down") tensor.shape = {100'000};
    }
    write_shard(folder_, "a.safetensors", tensors_);
    write_shard(folder_, "b.safetensors", second_, 3);
    tensors_.insert(tensors_.end(), second_.begin(), second_.end());
  }

  static Options options() {
    Options options = small_options();
    options.io = std::get<IoMode>(GetParam());
    options.slab_bytes = 64 << 10;
    options.staging_bytes = 384 << 10;  // six slabs, far fewer than there are extents
    options.queue_depth = 4;
    return options;
  }

  Plan plan() const {
    const Kind& kind = std::get<Kind>(GetParam());
    Request request = everything(kind.cast);
    request.devices = {kind.device};
    return make_plan(Checkpoint::open(folder_.path()), request, options());
  }

  /// One load: all of it arrived, or it ended as `reader` says that it must, and what had arrived is right.
  void expect_right(const Load& load, const Plan& plan, const SeededReader& reader) const {
    std::vector<TestTensor> arrived;
    for (const TestTensor& tensor : tensors_) {
      if (load.find(tensor.name) != nullptr) arrived.push_back(tensor);
    }
    expect_arrived(load, arrived, std::get<Kind>(GetParam()).cast);
    EXPECT_TRUE(reader.is_idle());
    try {
      load.wait();
      EXPECT_FALSE(reader.failure());
      EXPECT_EQ(arrived.size(), tensors_.size());
      EXPECT_EQ(load.statistics().bytes, plan.costs().read_bytes);
      EXPECT_EQ(load.statistics().extents, plan.costs().extents);
    } catch (const Error& error) {
      ASSERT_TRUE(reader.failure()) << error.what();
      EXPECT_EQ(error.code(), reader.failure()->error == 0 ? ErrorCode::file_changed : ErrorCode::io) << error.what();
      EXPECT_EQ(error.path(), reader.failure()->path);
      EXPECT_EQ(error.offset(), reader.failure()->offset) << error.what();
      EXPECT_LT(arrived.size(), tensors_.size());
    }
  }

  const TemporaryFolder folder_;
  std::vector<TestTensor> tensors_ = small_model;
  const std::vector<TestTensor> second_ = {
      {"b.one", f16, {70'000}}, {"b.two", Dtype::u8, {12'345}}, {"b.three", f32, {99}}};
};

TEST_P(SeededLoads, DeliverEveryByteOrEndAsStorageDid) {
  const Deadline deadline(deadline_seconds());
  const Plan plan = this->plan();
  std::uint64_t failed = 0;
  for (std::uint64_t seed = 1; seed <= seeds() && !HasFailure(); ++seed) {
    const testing::ScopedTrace trace(__FILE__, __LINE__, "seed " + std::to_string(seed));
    SeededReader* reader = nullptr;
    EngineHere engine(options(), [&](const Options& resolved, Wakeup& wakeup) {
      auto made = std::make_unique<SeededReader>(wakeup, resolved.queue_depth, seed);
      reader = made.get();
      return made;
    });
    std::ptrdiff_t descriptors = 0;
    for (int load = 0; load < 3; ++load) {
      reader->become(load == 2 ? Storage{} : std::get<Weather>(GetParam()).storage);
      expect_right(engine.run(plan), plan, *reader);
      if (reader->failure()) ++failed;
      if (load == 0) descriptors = open_descriptors();  // what the engine keeps is open by now
      EXPECT_EQ(open_descriptors(), descriptors);
    }
  }
  const Storage& storage = std::get<Weather>(GetParam()).storage;
  EXPECT_EQ(failed > 0, storage.errors + storage.early_ends > 0);
}

// A load reads some thirty extents.
INSTANTIATE_TEST_SUITE_P(
    Host, SeededLoads,
    testing::Combine(testing::Values(Kind{"as_they_are"}, Kind{"to_F32", host(), f32}, Kind{"forgotten", null()}),
                     testing::Values(Weather{"fair", {}}, Weather{"refusing_direct", {0, 0, 100}},
                                     Weather{"failing", {20, 0, 0}}, Weather{"ending_early", {0, 20, 0}},
                                     Weather{"foul", {10, 10, 200}}),
                     testing::Values(IoMode::direct, IoMode::automatic)),
    [](const auto& test) {
      return std::string(std::get<Kind>(test.param).name) + '_' + std::get<Weather>(test.param).name + '_' +
             std::string(name(std::get<IoMode>(test.param)));
    });

class RingLoads : public testing::TestWithParam<unsigned> {};

/// Small extents and work for two threads: the last lanes end while the engine goes to sleep.
TEST_P(RingLoads, NoneIsStuck) {
  const Deadline deadline(deadline_seconds());
  const TemporaryFolder folder;
  std::vector<TestTensor> tensors;
  for (int i = 0; i < 9; ++i) tensors.push_back({"tensor" + std::to_string(i), bf16, {32 << 10}});
  write_shard(folder, "model.safetensors", tensors);
  Options options = small_options();
  options.io = IoMode::direct;
  options.slab_bytes = 64 << 10;
  const Plan plan = make_plan(Checkpoint::open(folder.path()), everything(f32), options);
  EXPECT_GE(plan.costs().extents, 9u);
  std::string refusal;
  EngineHere engine(options, [&](const Options& resolved, Wakeup& wakeup) -> std::unique_ptr<Reader> {
    std::vector<Fallback> fallbacks;
    const unsigned flags = GetParam();
    auto reader = UringReader::make(resolved, wakeup, fallbacks, refusal, {&flags, 1});
    return reader;
  });
  if (!refusal.empty()) GTEST_SKIP() << "io_uring is refused: " << refusal;
  for (std::uint64_t i = 0; i < 20 * seeds(); ++i) {
    const Load load = engine.run(plan);
    if (i % 50 == 0) expect_delivered(load, tensors, f32);
    load.wait();
  }
}

INSTANTIATE_TEST_SUITE_P(Flags, RingLoads, testing::ValuesIn(UringReader::flag_sets), [](const auto& test) {
  if (test.param == 0) return "plain";
  return (test.param & IORING_SETUP_DEFER_TASKRUN) != 0 ? "defer_taskrun" : "coop_taskrun";
});

}  // namespace
}  // namespace sluice
