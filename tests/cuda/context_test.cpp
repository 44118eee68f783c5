// Goal: the caller's thread keeps its own current context.
// Method: on the simulated driver, whose second device is the caller's.
#include "cuda/context.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/sim/control.hpp"
#include "tests/sim/driver_calls.hpp"

namespace sluice {
namespace {

TEST(Context, TheCallersIsCurrentAgainAfterwards) {
  sim::reset();
  {
    const Context mine(0);
    const Context callers(1);
    const CurrentContext outer(callers);
    cu::Context now = nullptr;
    {
      const CurrentContext inner(mine);
      cu::cuCtxGetCurrent(&now);
      EXPECT_EQ(now, mine.handle());
    }
    cu::cuCtxGetCurrent(&now);
    EXPECT_EQ(now, callers.handle());
  }
  EXPECT_EQ(sim::check_leaks(), 0u);
  EXPECT_TRUE(sim::take_violations().empty());
}

}  // namespace
}  // namespace sluice
