// Loads whole small checkpoints through the public API, on every reader and way of reading that this machine has, and
// compares each delivered byte with what was written. Then what goes wrong: files that change, memory that is not
// there, cancelling, engines and loads that end early.
#include "sluice/engine.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <thread>

#include "cuda/kernel_image.hpp"
#include "loader/base/limits.hpp"
#include "loader/base/stopwatch.hpp"
#include "loader/engine/load_state.hpp"
#include "loader/plan/access.hpp"
#include "sluice/sluice.hpp"
#include "tests/loader/support/deadline.hpp"
#include "tests/loader/support/refusals.hpp"
#include "tests/loader/support/sanitized.hpp"
#include "tests/loader/support/small_model.hpp"

namespace sluice {
namespace {

using testing::HasSubstr;

class EngineTest : public testing::TestWithParam<DeviceId> {
 protected:
  void SetUp() override {
    if (GetParam() == cuda(0) && kernel_fatbinary().empty()) GTEST_SKIP() << "built without nvcc";
  }

  Request all(std::optional<Dtype> cast = {}) const {
    Request request = everything(cast);
    request.devices = {GetParam()};
    return request;
  }

  const std::vector<TestTensor> model = model_for(GetParam());
  const TemporaryFolder folder;
  const Options options = small_options();
};

INSTANTIATE_TEST_SUITE_P(Engine, EngineTest, testing::Values(host(), cuda(0)),
                         [](const auto& device) { return device.param == host() ? "host" : "cuda"; });

struct Way {
  DeviceId device;
  ReaderKind reader;
  IoMode io;
  unsigned odd;
  std::optional<Dtype> cast;
};

class EveryWay : public testing::TestWithParam<Way> {};

TEST_P(EveryWay, DeliversEveryByte) {
  const Way way = GetParam();
  if (way.device == cuda(0) && kernel_fatbinary().empty()) GTEST_SKIP() << "built without nvcc";
  const std::vector<TestTensor> model = model_for(way.device);
  const TemporaryFolder folder;
  write_shard(folder, "a.safetensors", model, way.odd);
  std::vector<TestTensor> second = model;
  for (TestTensor& tensor : second) tensor.name += ".2";
  write_shard(folder, "b.safetensors", second, way.odd + 3);
  Options options = small_options();
  options.reader = way.reader;
  options.io = way.io;
  std::optional<Load> load;
  Engine engine(options);
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  Request request = everything(way.cast);
  request.devices = {way.device};
  try {
    load.emplace(engine.start(make_plan(checkpoint, request, options)));
    (void)load->arrival(0);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::reader_unavailable) GTEST_SKIP() << error.what();
    throw;
  }
  expect_delivered(*load, model, way.cast);
  expect_delivered(*load, second, way.cast);
  const Stats stats = load->statistics();
  EXPECT_EQ(stats.reader, way.reader);
  EXPECT_LE(stats.direct_bytes, stats.bytes);
  EXPECT_LE(stats.peak_staging_bytes, options.staging_bytes);
  if (way.io == IoMode::buffered) {
    EXPECT_EQ(stats.direct_bytes, 0u);
  }
  EXPECT_TRUE(load->progress().finished);
  EXPECT_EQ(load->progress().tensors_ready, 2 * model.size());
}

std::vector<Way> ways() {
  std::vector<Way> all;
  for (const DeviceId device : {host(), cuda(0)}) {
    for (const ReaderKind reader : {ReaderKind::uring, ReaderKind::pread}) {
      for (const IoMode io : {IoMode::automatic, IoMode::direct, IoMode::buffered}) {
        for (const unsigned odd : {0u, 1u, 5u}) {
          for (const std::optional<Dtype> cast : {std::optional<Dtype>(), {bf16}, {f32}}) {
            // Sanitizers make loads slow: they see a third, and of casts on the simulated GPU the one to less.
            if (sanitized && (odd != 1 || (device != host() && cast == f32))) continue;
            all.push_back({device, reader, io, odd, cast});
          }
        }
      }
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Engine, EveryWay, testing::ValuesIn(ways()));

TEST_P(EngineTest, CountsWhatThePlanCounted) {
  write_shard(folder, "a.safetensors", model);
  const Plan plan = make_plan(Checkpoint::open(folder.path()), all(bf16), options);
  Engine engine(options);
  const Load load = engine.start(plan);
  load.wait();
  const Stats stats = load.statistics();
  EXPECT_EQ(stats.bytes, plan.costs().read_bytes);
  EXPECT_EQ(stats.delivered_bytes, plan.costs().delivered_bytes);
  EXPECT_EQ(stats.extents, plan.costs().extents);
  EXPECT_EQ(stats.copies, plan.costs().copies);
  EXPECT_EQ(stats.launches, plan.costs().launches);
  EXPECT_LE(stats.peak_staging_bytes, plan.costs().staging_bytes);
}

TEST_P(EngineTest, RunsLoadsOneAfterTheOtherAndKeepsThemApart) {
  write_shard(folder, "a.safetensors", model);
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  Engine engine(options);
  const Load first = engine.start(make_plan(checkpoint, all(), options));
  const Load second = engine.start(make_plan(checkpoint, all(f32), options));
  expect_delivered(second, model, f32);
  expect_delivered(first, model);
}

TEST_P(EngineTest, CountsALoadsTimeFromItsStartOrTheEndOfTheLoadBefore) {
  write_shard(folder, "a.safetensors", model);
  Options traced = options;
  traced.trace = true;
  const Plan plan = make_plan(Checkpoint::open(folder.path()), all(), traced);
  Engine engine(traced);
  engine.prepare({GetParam()});  // the first load waits until that is done
  const Load first = engine.start(plan);
  const Load second = engine.start(plan);
  const std::int64_t started = steady_now_ns();
  first.wait();
  second.wait();
  const auto start_up = [](const Load& load) {
    for (const Span& span : load.trace().spans) {
      if (span.what == Span::What::start_up) return span;
    }
    return Span{};
  };
  EXPECT_GT(start_up(first).begin_ns, 0);
  EXPECT_LE(start_up(first).begin_ns, started);
  EXPECT_GE(start_up(second).begin_ns, start_up(first).end_ns);
}

TEST_P(EngineTest, DeliversToTheNullDeviceBesideIt) {
  write_shard(folder, "a.safetensors", model);
  Request request;
  request.add("*").on({GetParam(), null()});
  Engine engine(options);
  const Load load = engine.start(make_plan(Checkpoint::open(folder.path()), request, options));
  expect_delivered(load, model);
  EXPECT_EQ(load.wait("embed", null()).data, nullptr);
  EXPECT_EQ(load.progress().tensors_total, 2 * model.size());
}

TEST(Engine, ReadsWithTheNullReaderAtOnce) {
  const TemporaryFolder folder;
  write_shard(folder, "a.safetensors", small_model);
  Options options = small_options();
  options.reader = ReaderKind::null;
  Request request = everything();
  request.devices = {null()};
  Engine engine(options);
  const Load load = engine.start(make_plan(Checkpoint::open(folder.path()), request, options));
  load.wait();
  EXPECT_EQ(load.statistics().reader, ReaderKind::null);
}

/// The Error that waiting for a load throws.
Error error_of(const Load& load) {
  try {
    load.wait();
  } catch (const Error& error) {
    return error;
  }
  return Error(ErrorCode::invalid_argument, "no error was thrown");
}
Error error_of(Engine& engine, const Plan& plan) {
  return error_of(engine.start(plan));
}

TEST_P(EngineTest, RefusesAShardThatChangedAndStaysUsable) {
  write_shard(folder, "a.safetensors", model);
  Engine engine(options);
  const Plan stale = make_plan(Checkpoint::open(folder.path()), all(), options);
  write_shard(folder, "a.safetensors", model, 1);
  const Error error = error_of(engine, stale);
  EXPECT_EQ(error.code(), ErrorCode::file_changed);
  EXPECT_THAT(error.what(), HasSubstr("a.safetensors"));

  std::filesystem::remove(folder.path() / "a.safetensors");
  EXPECT_EQ(error_of(engine, stale).code(), ErrorCode::not_found);

  write_shard(folder, "a.safetensors", model);
  const Load load = engine.start(make_plan(Checkpoint::open(folder.path()), all(), options));
  expect_delivered(load, model);
}

TEST_P(EngineTest, SaysWhatMemoryIsMissingBeforeItReads) {
  // A sparse shard of 4 TiB: more than any machine that runs this has free.
  const std::string header = R"({"huge":{"dtype":"U8","shape":[4398046511104],"data_offsets":[0,4398046511104]}})";
  std::vector<std::byte> content(8 + header.size());
  const std::uint64_t length = header.size();
  std::memcpy(content.data(), &length, sizeof length);
  std::memcpy(content.data() + 8, header.data(), header.size());
  const auto path = folder.write("huge.safetensors", content);
  std::error_code refused;
  std::filesystem::resize_file(path, content.size() + 4398046511104ull, refused);
  if (refused) GTEST_SKIP() << "the file system has no sparse files of 4 TiB: " << refused.message();
  Engine engine;
  const Error error = error_of(engine, make_plan(Checkpoint::open(path), all()));
  EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
  EXPECT_THAT(error.what(), HasSubstr("are free"));
}

TEST(Engine, SaysWhyThereIsNoCudaDevice) {
  const TemporaryFolder folder;
  write_shard(folder, "a.safetensors", small_model);
  Request request = everything();
  request.devices = {cuda(63)};  // more than any machine has
  Engine engine;
  const Error error = error_of(engine, make_plan(Checkpoint::open(folder.path()), request));
  EXPECT_EQ(error.code(), ErrorCode::device_unavailable);
  EXPECT_THAT(error.what(), HasSubstr("cuda:63"));
}

TEST(Engine, RefusesAPlanForLargerSlabs) {
  const TemporaryFolder folder;
  write_shard(folder, "a.safetensors", small_model);
  const Plan plan = make_plan(Checkpoint::open(folder.path()), everything());
  Engine engine(small_options());
  EXPECT_THROW((void)engine.start(plan), Error);
}

TEST_P(EngineTest, CancelsALoadAndRunsTheNext) {
  write_shard(folder, "a.safetensors", model);
  const Plan plan = make_plan(Checkpoint::open(folder.path()), all(), options);
  Engine engine(options);
  for (int round = 0; round < 50; ++round) {
    Load load = engine.start(plan);
    load.cancel();
    try {
      load.wait();  // it may have been faster
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::cancelled);
    }
  }
  expect_delivered(engine.start(plan), model);
}

TEST_P(EngineTest, LetsLoadsGoAtAnyMoment) {
  write_shard(folder, "a.safetensors", model);
  const Plan plan = make_plan(Checkpoint::open(folder.path()), all(f32), options);
  Engine engine(options);
  for (int round = 0; round < (sanitized ? 20 : 50); ++round) {
    const Load load = engine.start(plan);
    if (round % 2 == 0) (void)load.arrival(static_cast<std::size_t>(round) % model.size());
  }
}

TEST_P(EngineTest, MayEndBeforeItsLoads) {
  write_shard(folder, "a.safetensors", model);
  const Plan plan = make_plan(Checkpoint::open(folder.path()), all(), options);
  std::vector<Load> loads;
  {
    Engine engine(options);
    for (int i = 0; i < 4; ++i) loads.push_back(engine.start(plan));
    loads.front().wait();
  }
  expect_delivered(loads.front(), model);
  for (const Load& load : loads) {
    try {
      load.wait();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::cancelled);
    }
  }
}

TEST_P(EngineTest, EndsTheLoadCleanlyWhereTheRingBreaksAndStaysUsable) {
  write_shard(folder, "a.safetensors", model);
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // CUDA does not survive a fork
  EXPECT_EXIT(({
                refuse_calls({SYS_io_uring_enter}, EPERM);
                const Plan plan = make_plan(Checkpoint::open(folder.path()), all(f32), options);
                Engine engine(options);
                for (int round = 0; round < 3; ++round) {
                  const Error error = error_of(engine, plan);
                  require(error.code() == ErrorCode::system, "the error is of the system");
                }
                std::_Exit(0);
              }),
              testing::ExitedWithCode(0), "");
}

TEST_P(EngineTest, HoldsNothingOfALoadThatHasEnded) {
  write_shard(folder, "a.safetensors", model);
  Engine engine(options);
  std::weak_ptr<const PlanData> plan_data;
  std::weak_ptr<const Catalogue> catalogue;
  {
    const Checkpoint checkpoint = Checkpoint::open(folder.path());
    const Plan plan = make_plan(checkpoint, all(), options);
    plan_data = Access::data(plan);
    catalogue = Access::catalogue(checkpoint);
    engine.start(plan).wait();
  }
  // The engine's thread lets go of them when it has told the end: within a moment, and without another load.
  for (int i = 0; i < 10'000 && !catalogue.expired(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(plan_data.expired());
  EXPECT_TRUE(catalogue.expired());
}

// As of a load that waits behind another: no engine has begun it.
TEST(QueuedLoad, EndsAtOnceWhenItIsCancelledOrDropped) {
  const TemporaryFolder folder;
  write_shard(folder, "a.safetensors", small_model);
  const Plan plan = make_plan(Checkpoint::open(folder.path()), everything());
  const auto wakeup = std::make_shared<Wakeup>();
  const auto cancelled = std::make_shared<LoadState>(plan, memory_for(plan, {}), wakeup, false);
  {
    Load load = Access::load(cancelled);
    load.cancel();
    EXPECT_EQ(error_of(load).code(), ErrorCode::cancelled);
    EXPECT_TRUE(load.progress().finished);
  }
  EXPECT_FALSE(cancelled->begin()) << "the engine would run it";
  const auto dropped = std::make_shared<LoadState>(plan, memory_for(plan, {}), wakeup, false);
  { const Load load = Access::load(dropped); }
  EXPECT_FALSE(dropped->begin()) << "the engine would run it";
}

TEST(Fork, LeavesTheChildAnErrorInsteadOfItsParentsEngine) {
  if (sanitized) GTEST_SKIP() << "sanitizers allow no threads in a child of a process with threads";
  const TemporaryFolder folder;
  write_shard(folder, "a.safetensors", small_model);
  const Options options = small_options();
  const Plan plan = make_plan(Checkpoint::open(folder.path()), everything(), options);
  std::optional<Engine> engine(std::in_place, options);
  std::optional<Load> load = engine->start(plan);
  const pid_t child = fork();
  if (child == 0) {
    const Deadline deadline(60);  // where something waits for ever for a thread of the parent
    const auto is_told = [](const auto& call) {
      try {
        call();
      } catch (const Error& error) {
        return error.code() == ErrorCode::system && !error.hint().empty();
      }
      return false;
    };
    if (!is_told([&] { (void)engine->start(plan); })) _exit(1);
    if (!is_told([&] { engine->prepare({host()}); })) _exit(2);
    if (!is_told([&] { load->wait(); })) _exit(3);
    if (!is_told([&] { (void)load->wait("embed"); })) _exit(4);
    if (!is_told([&] { (void)load->arrival(0); })) _exit(5);
    load->cancel();
    load.reset();
    engine.reset();
    Engine own(options);
    own.start(plan).wait();
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  expect_delivered(*load, small_model);
}

}  // namespace
}  // namespace sluice
