// Goal: loads and graph captures do not disturb each other: whatever a load does, on whichever thread, a capture
// elsewhere in the process stays valid, and the load is right.
// Method: whole loads, from the engine's start to its end, while a stream captures in the default mode, which forbids
// most calls to all threads of that mode: on a thread of its own, and on the caller's.
#include <gmock/gmock.h>

#include <cstring>
#include <functional>
#include <future>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cuda/context.hpp"
#include "cuda/device_memory.hpp"
#include "sluice/sluice.hpp"
#include "tests/cuda/gpu_loads.hpp"
#include "tests/sim/capture_api.hpp"

namespace sluice {
namespace {

/// A stream of device 0 that captures while this lives.
class Capturing {
 public:
  Capturing() : current_(context_), stream_(context_) {
    EXPECT_EQ(calls_.cuStreamBeginCapture(stream_.handle(), cu::CaptureMode::global), cu::Result::success);
  }
  ~Capturing() {
    cu::Graph graph = nullptr;
    EXPECT_EQ(calls_.cuStreamEndCapture(stream_.handle(), &graph), cu::Result::success) << "the capture was spoiled";
    if (graph != nullptr) calls_.cuGraphDestroy(graph);
  }
  Capturing(const Capturing&) = delete;
  Capturing& operator=(const Capturing&) = delete;

  cu::Stream stream() const { return stream_.handle(); }

 private:
  const cu::CaptureCalls calls_;
  const Context context_{0};
  const CurrentContext current_;
  const Stream stream_;
};

/// The caller's mode, which CurrentContext in Capturing has set to relaxed, is what threads begin with.
class DefaultMode {
 public:
  DefaultMode() { driver().cuThreadExchangeStreamCaptureMode(&mode_); }
  ~DefaultMode() { driver().cuThreadExchangeStreamCaptureMode(&mode_); }
  DefaultMode(const DefaultMode&) = delete;
  DefaultMode& operator=(const DefaultMode&) = delete;

 private:
  cu::CaptureMode mode_ = cu::CaptureMode::global;
};

/// Runs `body` while another thread captures.
void beside_capture(const std::function<void()>& body) {
  std::promise<void> begun;
  std::promise<void> ended;
  std::thread other([&] {
    const Capturing capturing;
    begun.set_value();
    ended.get_future().wait();
  });
  begun.get_future().wait();
  try {
    body();
  } catch (const Error& error) {
    ADD_FAILURE() << error.what();
  }
  ended.set_value();
  other.join();
}

class CaptureTest : public GpuLoads {
 protected:
  static std::vector<DeviceId> devices() {
    return gpus() < 2 ? std::vector{cuda(0)} : std::vector{cuda(0), cuda(1), host()};
  }
  static std::vector<std::optional<Dtype>> casts() { return {std::nullopt, bf16}; }

  Plan plan_of(std::optional<Dtype> cast, const Options& options) const {
    Request request = everything(cast);
    request.devices = devices();
    return make_plan(Checkpoint::open(file_.string()), request, options);
  }
  void load(std::optional<Dtype> cast, const Options& options) const {
    const Plan plan = plan_of(cast, options);
    Engine engine(options);
    engine.prepare(devices());
    expect_right(engine.start(plan), plan);
  }
};

TEST_F(CaptureTest, LoadsOfEachKindLeaveItValid) {
  for (const std::optional<Dtype> cast : casts()) {
    for (const bool trace : {false, true}) {
      SCOPED_TRACE(trace);
      Options options = small_slabs();
      options.trace = trace;
      beside_capture([&] { load(cast, options); });
      expect_clean();
    }
  }
}

TEST_F(CaptureTest, SoDoLoadsInEveryOrder) {
  for (std::uint64_t seed = 1; seed <= orders() / 10; ++seed) {
    sim::reset(in_order_of(seed));
    beside_capture([&] { load(bf16, small_slabs()); });
    expect_clean();
    if (HasFailure()) FAIL() << "with seed " << seed;
  }
}

TEST_F(CaptureTest, SoDoLoadsByDriversOfMemoryAndCodeOfTheirOwn) {
  sim::Settings settings;
  settings.driver_version = 11000;  // has modules, and no libraries
  sim::reset(settings);
  sim::fail_call("cuMemHostRegister", 1, cu::Result::not_permitted);
  beside_capture([&] { load(bf16, small_slabs()); });
  expect_clean();
}

TEST_F(CaptureTest, SoDoLoadsThatAreLeft) {
  beside_capture([&] {
    Engine engine(small_slabs());
    const Load load = engine.start(plan_of(bf16, small_slabs()));
    load.arrival(3);
  });
  expect_clean();
}

TEST_F(CaptureTest, SoDoStreamsThatWait) {
  for (std::uint64_t seed = 1; seed <= orders() / 10; ++seed) {
    SCOPED_TRACE(seed);
    sim::reset(in_order_of(seed));
    {
      const Context context(0);
      beside_capture([&] {
        const CurrentContext current(context);
        const Stream stream(context);
        Engine engine(small_slabs());
        const Load load = engine.start(plan_of(bf16, small_slabs()));
        const DefaultMode mode;
        for (const TestTensor& wanted : tensors_) load.wait_on(stream.handle(), wanted.name, cuda(0));
        load.wait();
      });
    }
    expect_clean();
    if (HasFailure()) return;
  }
}

// A graph cannot depend on a load: the host waits, and what the graph does whenever it is launched comes after.
TEST_F(CaptureTest, ACapturingStreamFindsTheTensorsComplete) {
  for (std::uint64_t seed = 1; seed <= orders() / 10; ++seed) {
    SCOPED_TRACE(seed);
    sim::reset(in_order_of(seed));
    {
      const Capturing capturing;
      const DefaultMode mode;
      Engine engine(small_slabs());
      const Load load = engine.start(plan_of(bf16, small_slabs()));
      for (const TestTensor& wanted : tensors_) {
        const Tensor& tensor = load.wait_on(capturing.stream(), wanted.name, cuda(0));
        EXPECT_EQ(load.find(wanted.name, cuda(0)), &tensor) << "it has arrived";
      }
    }
    expect_clean();
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace sluice
