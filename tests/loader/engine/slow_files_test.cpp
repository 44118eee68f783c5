// Goal: file systems that take their time to open a file, and to tell of it, slow no load down: the engine's thread
// asks them nothing, and what it wants to know is known when it is needed. Method: whole loads in simulated time from
// files of which each question takes 5 ms; which thread asks is looked at.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "loader/engine/equipment.hpp"
#include "loader/engine/load_run.hpp"
#include "loader/plan/access.hpp"
#include "tests/loader/support/simulated_reader.hpp"
#include "tests/loader/support/small_model.hpp"

namespace sluice {
namespace {

constexpr std::int64_t answer_ns = 5'000'000;
constexpr std::uint64_t file_slab = 64 << 10;

/// An engine on the test's thread, whose files are far away.
class FarEngine {
 public:
  FarEngine(const Options& options, double bytes_per_second, std::int64_t question_ns)
      : equipment_(resolve(options), wakeup_) {
    equipment_.before_each_question([this, question_ns, engine = std::this_thread::get_id()] {
      EXPECT_NE(std::this_thread::get_id(), engine);
      ++questions;
      clock_.sleep(question_ns);
    });
    equipment_.use_reader(std::make_unique<SimulatedReader>(bytes_per_second, clock_, *wakeup_, [this] {
      clock_.settle({&equipment_.workers(), &equipment_.file_asker().workers()});
    }));
  }

  std::int64_t run(const Plan& plan, const std::vector<TestTensor>& tensors, Dtype cast) {
    const std::int64_t begin = clock_.now_ns();
    const auto state = std::make_shared<LoadState>(plan, memory_for(plan, {}), wakeup_, false);
    const Load load = Access::load(state);
    EXPECT_TRUE(state->begin());
    run_load(*state, equipment_);
    expect_delivered(load, tensors, cast);
    return clock_.now_ns() - begin;
  }

  std::atomic<std::uint64_t> questions = 0;

 private:
  SimulatedClock clock_;
  const std::shared_ptr<Wakeup> wakeup_ = std::make_shared<Wakeup>();
  Equipment equipment_;
};

struct Files {
  const char* name;
  std::uint64_t shards;
  std::uint64_t tensors_each;
  DeviceId device = host();
  Dtype cast = f32;

  friend void PrintTo(const Files& files, std::ostream* out) { *out << files.name; }
};

class SlowFilesTest : public testing::TestWithParam<Files> {};

TEST_P(SlowFilesTest, SlowNoLoadDown) {
  const Files files = GetParam();
  const TemporaryFolder folder;
  std::vector<TestTensor> all;
  for (std::uint64_t shard = 0; shard < files.shards; ++shard) {
    std::vector<TestTensor> tensors;
    for (std::uint64_t i = 0; i < files.tensors_each; ++i) {
      tensors.push_back({fmt::format("{}.{}", shard, i), f32, {25, 999}});
    }
    write_shard(folder, fmt::format("{}.safetensors", shard), tensors, 3);
    all.insert(all.end(), tensors.begin(), tensors.end());
  }
  Options options;
  options.slab_bytes = file_slab;
  options.staging_bytes = 16 * file_slab;
  options.threads = 2;
  Request request = everything(files.cast);
  request.devices = {files.device};
  const Plan plan = make_plan(Checkpoint::open(folder.path()), request, options);
  // 32 extents last two answers, as those of 4 MiB do at 13 GB/s.
  const double rate = 0.2e9;

  const std::int64_t near_ns = FarEngine(options, rate, 0).run(plan, all, files.cast);
  FarEngine far(options, rate, answer_ns);
  const std::int64_t far_ns = far.run(plan, all, files.cast);
  // The first shard is opened, then asked about; what came last is checked, after the check that was under way.
  EXPECT_LE(far_ns, near_ns * 105 / 100 + 4 * answer_ns);
  EXPECT_LE(far.questions, files.shards * 3 + static_cast<std::uint64_t>(far_ns / answer_ns) * 4);
}

INSTANTIATE_TEST_SUITE_P(Engine, SlowFilesTest,
                         testing::Values(Files{"one", 1, 200}, Files{"several", 8, 25},
                                         Files{"cast", 4, 50, host(), bf16}, Files{"forgotten", 4, 50, null()}),
                         [](const auto& files) { return std::string(files.param.name); });

}  // namespace
}  // namespace sluice
