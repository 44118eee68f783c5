// Goal: a load into the caller's memory on GPUs may end at any moment, for any reason: then nothing is written there
// any more, nothing beside the destinations was, what has arrived is right, one error is told, that of what went wrong
// first, and the engine loads again.
// Method: reloads in place on the simulated driver, which is strict, cancelled at calls that a seed draws, under every
// policy; each call, allocation, operation and read failed in turn. Thousands by hand:
// SLUICE_SEEDS=5000 build/release/tests/cuda_test --gtest_filter='GpuTornLoads.*'.
#include <gmock/gmock.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>

#include "tests/cuda/gpu_callers_memory.hpp"
#include "tests/cuda/gpu_loads.hpp"
#include "tests/fallbacks/engine_here.hpp"
#include "tests/loader/support/deadline.hpp"
#include "tests/loader/support/reload_scene.hpp"
#include "tests/loader/support/tampered_reader.hpp"

namespace sluice {
namespace {

/// A Load that another thread may cancel, for as long as it is there.
class Cancellable {
 public:
  void hold(Load& load) {
    const std::lock_guard<std::mutex> lock(mutex_);
    load_ = &load;
    if (due_) load_->cancel();
  }
  void let_go() {
    const std::lock_guard<std::mutex> lock(mutex_);
    load_ = nullptr;
  }
  void cancel() {
    const std::lock_guard<std::mutex> lock(mutex_);
    due_ = true;
    if (load_ != nullptr) load_->cancel();
  }
  bool is_due() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return due_;
  }

 private:
  std::mutex mutex_;
  Load* load_ = nullptr;
  bool due_ = false;
};

/// Work of the caller's on a stream of its own that reads what a reload is about to overwrite.
class CallersWork {
 public:
  CallersWork(const CallersGpuMemory& memory, const Memory& of)
      : context_(memory.context(of.device)), target_(context_, of.bytes) {
    const CurrentContext current(context_);
    stream_ = std::make_unique<const Stream>(context_);
    context_.check(context_.driver().cuMemcpyDtoHAsync(target_.data(), reinterpret_cast<cu::DevicePointer>(of.data),
                                                       of.bytes, stream_->handle()),
                   "cuMemcpyDtoHAsync");
  }
  ~CallersWork() {
    with_context(context_, [this] { stream_.reset(); });
  }
  CallersWork(const CallersWork&) = delete;
  CallersWork& operator=(const CallersWork&) = delete;

  CUstream_st* stream() const { return stream_->handle(); }

 private:
  const Context& context_;
  const PinnedMemory target_;
  std::unique_ptr<const Stream> stream_;
};

Options torn_options() {
  Options options = small_slabs();
  options.queue_depth = 3;
  return options;
}

/// All that a reload in place needs, on a driver that was just reset.
struct Place {
  explicit Place(const std::vector<DeviceId>& devices) : scene(memory, devices, torn_options()) {}

  StartOptions start(bool behind_work) {
    StartOptions options{.arenas = scene.arenas(), .after = {}};
    work.clear();
    if (!behind_work) return options;
    for (const Memory& arena : scene.arenas()) {
      if (arena.device.kind != DeviceId::Kind::cuda) continue;
      work.push_back(std::make_unique<const CallersWork>(memory, arena));
      options.after.push_back({arena.device, work.back()->stream()});
    }
    return options;
  }
  /// A whole load where nothing was.
  template <typename AnyEngine>
  void load_whole(AnyEngine& engine, int version) const {
    scene.clear();
    const Load load = begin(engine, scene.plan(version), {.arenas = scene.arenas(), .after = {}});
    load.wait();
    scene.expect_complete(load, version, scene.arenas());
  }
  static Load begin(Engine& engine, const Plan& plan, const StartOptions& options) {
    return engine.start(plan, options);
  }
  static Load begin(EngineHere& engine, const Plan& plan, const StartOptions& options) {
    return engine.run(plan, options);
  }

  CallersGpuMemory memory;
  const ReloadScene scene;
  std::vector<std::unique_ptr<const CallersWork>> work;
};

class GpuTornLoads : public GpuLoads {
 protected:
  static std::uint64_t moments() {
    const char* const wish = std::getenv("SLUICE_SEEDS");
    return wish != nullptr ? std::strtoull(wish, nullptr, 10) : thread_sanitized ? 20 : sanitized ? 60 : 500;
  }
  /// Of so many uses of a call, from which to which next one a sweep goes: all by hand, else a dozen of each call.
  static std::uint64_t stride(std::uint64_t uses) {
    return std::getenv("SLUICE_SEEDS") != nullptr ? 1 : std::max<std::uint64_t>(1, uses / 12);
  }
  static std::vector<DeviceId> devices_of(std::uint64_t seed) {
    return seed % 3 == 0 ? std::vector{host(), cuda(0)} : two_gpus();
  }
  static std::uint64_t calls() {
    const auto all = sim::counters().calls;
    return std::accumulate(all.begin(), all.end(), std::uint64_t{0},
                           [](std::uint64_t sum, const auto& call) { return sum + call.second; });
  }
  static void expect_no_violations() {
    for (const sim::Violation& violation : sim::take_violations()) {
      ADD_FAILURE() << sim::name(violation.rule) << ": " << violation.message;
    }
  }
  /// One load that is cancelled before call `moment`; whether it was torn.
  bool tear(Engine& engine, Place& place, std::uint64_t moment, std::mt19937_64& random) const;

  const Deadline deadline_{280};
};

bool GpuTornLoads::tear(Engine& engine, Place& place, std::uint64_t moment, std::mt19937_64& random) const {
  const auto cancellable = std::make_shared<Cancellable>();
  sim::before_call(moment, [cancellable] { cancellable->cancel(); });
  Load load = engine.start(place.scene.plan(1), place.start(random() % 2 == 0));
  bool torn = false;
  if (random() % 4 == 0) {  // the Load goes away at that moment
    while (!cancellable->is_due() && !load.progress().finished) std::this_thread::yield();
    load = Load();
    torn = cancellable->is_due();
  } else {
    cancellable->hold(load);
    try {
      load.wait();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::cancelled) << error.what();
      torn = true;
    }
    cancellable->let_go();
  }
  sim::before_call(0, nullptr);
  place.work.clear();
  place.scene.expect_after(load, 0, 1, place.scene.arenas());
  return torn;
}

TEST_F(GpuTornLoads, EndAtAnyCallOfTheDriver) {
  constexpr std::uint64_t moments_a_round = 10;
  std::uint64_t torn = 0;
  for (std::uint64_t round = 1; round <= moments() / moments_a_round && !HasFailure(); ++round) {
    sim::reset(in_order_of(round));
    {
      Place place(devices_of(round));
      Engine engine(torn_options());
      place.load_whole(engine, 1);
      const std::uint64_t before = calls();
      engine.start(place.scene.plan(0), place.start(true)).wait();
      const std::uint64_t calls_of_a_load = calls() - before;
      for (std::uint64_t i = 1; i <= moments_a_round && !HasFailure(); ++i) {
        std::mt19937_64 random(round * moments_a_round + i);
        const std::uint64_t moment = 1 + random() % calls_of_a_load;
        SCOPED_TRACE(fmt::format("round {}, the {}th: before call {} of {}", round, i, moment, calls_of_a_load));
        if (tear(engine, place, moment, random)) ++torn;
        place.load_whole(engine, 0);
        expect_no_violations();
      }
    }
    expect_clean();
  }
  EXPECT_GT(torn, moments() / 4) << "most of them end too late";
}

TEST_F(GpuTornLoads, EndInTheCallThatFails) {
  for (const bool arenas : {true, false}) {
    sim::reset();
    std::map<std::string, std::uint64_t, std::less<>> calls;
    {
      Place place(two_gpus());
      Engine engine(torn_options());
      const StartOptions options = place.start(false);
      for (const auto& [call, uses] : sim::counters().calls) calls[call] -= uses;
      engine.start(place.scene.plan(0), arenas ? options : StartOptions()).wait();
      for (const auto& [call, uses] : sim::counters().calls) calls[call] += uses;
    }
    expect_clean();
    for (const auto& [call, uses] : calls) {
      // Sanitizers make loads slow: they see the first use of each. One stands before and after all others.
      const std::uint64_t tried = sanitized                                     ? std::min<std::uint64_t>(uses, 1)
                                  : call == "cuThreadExchangeStreamCaptureMode" ? std::min<std::uint64_t>(uses, 8)
                                                                                : uses;
      for (std::uint64_t nth = 1; nth <= tried && !HasFailure(); nth += stride(tried)) {
        SCOPED_TRACE(fmt::format("{}, use {} of {}, {} arenas", call, nth, uses, arenas ? "given" : "own"));
        sim::reset(in_order_of(nth));
        {
          Place place(two_gpus());
          Engine engine(torn_options());
          const bool allocates = call == "cuMemAlloc" || call == "cuMemCreate";
          const StartOptions options = place.start(false);
          const std::vector<Memory> where = arenas ? options.arenas : std::vector<Memory>();
          sim::fail_call(call, nth, allocates ? cu::Result::out_of_memory : cu::Result::unknown);
          const Load load = engine.start(place.scene.plan(0), arenas ? options : StartOptions());
          try {
            load.wait();
            sim::forget_faults();
            place.scene.expect_complete(load, 0, where);
          } catch (const Error& error) {
            sim::forget_faults();
            EXPECT_EQ(error.code(), allocates ? ErrorCode::out_of_memory : ErrorCode::device_unavailable);
            EXPECT_THAT(error.what(),
                        testing::AnyOf(testing::HasSubstr(call), testing::HasSubstr("the kernel: CUDA_")));
            EXPECT_FALSE(error.hint().empty()) << error.what();
            place.scene.expect_after(load, ReloadScene::nothing, 0, where);
          }
          place.load_whole(engine, 1);
        }
        // Where the context cannot be made current, nothing can be given back either.
        if (call == "cuCtxPushCurrent") sim::reset();
        expect_clean();
      }
    }
  }
}

TEST_F(GpuTornLoads, EndInTheOperationThatFails) {
  const auto operations = [&] {
    const sim::Counters counts = sim::counters();
    std::uint64_t all = counts.launches;
    for (const char* const call : {"cuMemcpyHtoDAsync", "cuMemcpy2DAsync", "cuMemsetD8Async", "cuMemsetD2D8Async"}) {
      const auto its = counts.calls.find(call);
      if (its != counts.calls.end()) all += its->second;
    }
    return all;
  };
  std::uint64_t all = 0;
  {
    Place place(two_gpus());
    Engine engine(torn_options());
    const std::uint64_t before = operations();
    engine.start(place.scene.plan(0), place.start(false)).wait();
    all = operations() - before;
  }
  EXPECT_GE(all, 20u);
  expect_clean();
  for (std::uint64_t nth = 1; nth <= all && !HasFailure(); ++nth) {
    SCOPED_TRACE(fmt::format("operation {} of {}", nth, all));
    sim::reset(in_order_of(nth));
    {
      Place place(two_gpus());
      Engine engine(torn_options());
      sim::fail_operation(nth);
      const Load load = engine.start(place.scene.plan(0), place.start(false));
      try {
        load.wait();
        ADD_FAILURE() << "it was loaded";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::device_unavailable) << error.what();
      }
    }
    expect_clean();
  }
}

TEST_F(GpuTornLoads, EndInTheAllocationThatFails) {
  for (std::uint64_t nth = 1;; ++nth) {
    SCOPED_TRACE(fmt::format("allocation {}", nth));
    sim::reset(in_order_of(nth));
    bool failed = false;
    {
      Place place(two_gpus());
      Engine engine(torn_options());
      sim::fail_allocation(nth);
      const Load load = engine.start(place.scene.plan(0));  // into arenas of its own
      try {
        load.wait();
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::out_of_memory) << error.what();
        EXPECT_THROW((void)load.arenas(), Error) << "it failed before it had them";
        failed = true;
      }
      sim::forget_faults();
      place.scene.expect_after(load, ReloadScene::nothing, 0, {});
      place.load_whole(engine, 1);
    }
    expect_clean();
    if (!failed || HasFailure()) {
      EXPECT_GT(nth, 4u) << "an arena and scratch on each of two devices";
      return;
    }
  }
}

TEST_F(GpuTornLoads, EndInTheReadThatFails) {
  for (const int error : {EIO, 0}) {
    for (std::uint64_t nth = 1; !HasFailure(); ++nth) {
      SCOPED_TRACE(fmt::format("read {} ends with {}", nth, error));
      sim::reset(in_order_of(nth));
      bool failed = false;
      {
        Place place(devices_of(nth));
        TamperedReader* reader = nullptr;
        EngineHere engine(torn_options(), [&](const Options& resolved, Wakeup& wakeup) {
          std::vector<Fallback> untold;
          auto made = std::make_unique<TamperedReader>(make_reader(resolved, wakeup, untold));
          reader = made.get();
          return made;
        });
        place.load_whole(engine, 0);
        reader->fail(nth, error);
        const Load load = engine.run(place.scene.plan(1), place.start(true));
        failed = reader->failed().has_value();
        try {
          load.wait();
          EXPECT_FALSE(failed);
        } catch (const Error& told) {
          EXPECT_EQ(told.code(), error == 0 ? ErrorCode::file_changed : ErrorCode::io) << told.what();
          EXPECT_EQ(told.offset(), reader->failed()->offset + reader->failed()->bytes) << told.what();
        }
        place.scene.expect_after(load, 0, 1, place.scene.arenas());
        reader->mend();
        place.load_whole(engine, 0);
      }
      expect_clean();
      if (!failed) {
        EXPECT_GT(nth, 4u);
        break;
      }
    }
  }
}

}  // namespace
}  // namespace sluice
