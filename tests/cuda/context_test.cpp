// Goal: the caller's thread keeps its own current context.
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

}  // namespace
}  // namespace sluice
