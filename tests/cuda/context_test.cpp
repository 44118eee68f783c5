// Goal: the caller's thread keeps its own current context and capture mode.
// Method: on a driver whose second device is the caller's.
#include "cuda/context.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cuda/gpus.hpp"
#include "tests/sim/control.hpp"

namespace sluice {
namespace {

TEST(Context, TheCallersIsCurrentAgainAfterwards) {
  sim::reset();
  if (gpus() < 2) GTEST_SKIP() << "there is one GPU";
  {
    const Context mine(0);
    const Context callers(1);
    const CurrentContext outer(callers);
    cu::Context now = nullptr;
    {
      const CurrentContext inner(mine);
      mine.driver().cuCtxGetCurrent(&now);
      EXPECT_EQ(now, mine.handle());
    }
    mine.driver().cuCtxGetCurrent(&now);
    EXPECT_EQ(now, callers.handle());
  }
  EXPECT_EQ(sim::check_leaks(), 0u);
  EXPECT_TRUE(sim::take_violations().empty());
}

TEST(Context, TheCallersCaptureModeIsItsOwnAgainAfterwards) {
  sim::reset();
  {
    const Context context(0);
    const Driver& its = context.driver();
    cu::CaptureMode mode = cu::CaptureMode::per_thread;
    its.cuThreadExchangeStreamCaptureMode(&mode);
    {
      const CurrentContext outer(context);
      const CurrentContext inner(context);
    }
    mode = cu::CaptureMode::global;
    its.cuThreadExchangeStreamCaptureMode(&mode);
    EXPECT_EQ(mode, cu::CaptureMode::per_thread);
  }
  EXPECT_EQ(sim::check_leaks(), 0u);
  EXPECT_TRUE(sim::take_violations().empty());
}

// Where the driver refuses once, the mode that it was never told of is not set either.
TEST(Context, ARefusedCaptureModeIsNotRestored) {
  sim::reset();
  {
    const Context context(0);
    sim::fail_call("cuThreadExchangeStreamCaptureMode", 1, cu::Result::unknown);
    { const CurrentContext current(context); }
    cu::CaptureMode mode = cu::CaptureMode::global;
    context.driver().cuThreadExchangeStreamCaptureMode(&mode);
    EXPECT_EQ(mode, cu::CaptureMode::global);
  }
  EXPECT_EQ(sim::check_leaks(), 0u);
  EXPECT_TRUE(sim::take_violations().empty());
}

}  // namespace
}  // namespace sluice
