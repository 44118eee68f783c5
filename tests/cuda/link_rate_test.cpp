// Goal: a link is never measured as faster than it is, also where one piece takes longer than the measurement should;
// nothing is left behind, whatever fails.
// Method: on the simulated driver, whose copies take at least bytes / bandwidth of the machine's time; and each call
// refused in turn.
#include "cuda/link_rate.hpp"

#include <gtest/gtest.h>

#include "tests/cuda/gpus.hpp"
#include "tests/sim/control.hpp"

namespace sluice {
namespace {

void expect_nothing_left() {
  EXPECT_EQ(sim::check_leaks(), 0u);
  EXPECT_TRUE(sim::take_violations().empty());
}

TEST(LinkRate, IsNotAboveTheLinks) {
  if (!sim::is_simulated()) GTEST_SKIP() << "what this link can do is not known";
  for (const double bytes_per_second : {40e6, 400e6}) {
    sim::Settings settings;
    settings.clock = sim::Clock::wall;
    settings.devices[0].link_bytes_per_second = bytes_per_second;
    sim::reset(settings);
    {
      const Context context(0);
      const double rate = measure_link(context);
      EXPECT_GT(rate, 0);
      EXPECT_LT(rate, bytes_per_second * 1.001);
    }
    expect_nothing_left();
  }
}

TEST(LinkRate, LeavesNothingBehindWhereACallIsRefused) {
  if (!sim::is_simulated()) GTEST_SKIP() << "a real driver refuses nothing on demand";
  for (const char* call :
       {"cuMemHostAlloc", "cuMemAlloc", "cuStreamCreate", "cuMemcpyHtoDAsync", "cuStreamSynchronize"}) {
    sim::reset();
    {
      const Context context(0);
      sim::fail_call(call, 1, cu::Result::out_of_memory);
      EXPECT_THROW(measure_link(context), Error) << call;
    }
    expect_nothing_left();
  }
}

}  // namespace
}  // namespace sluice
