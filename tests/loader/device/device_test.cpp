// Goal: a device is opened by its id, or the reason is told.
#include "loader/device/device.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "loader/base/workers.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

TEST(OpenDevice, OpensTheHostAndTheNullDevice) {
  Workers workers(1);
  EXPECT_EQ(open_device(host(), workers)->id(), host());
  EXPECT_EQ(open_device(null(), workers)->id(), null());
}

TEST(OpenDevice, SaysWhichDeviceIsNotThere) {
  Workers workers(1);
  try {
    open_device(cuda(63), workers);
    FAIL() << "it was opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::device_unavailable);
    EXPECT_THAT(error.what(), testing::HasSubstr("cuda:63"));
    EXPECT_FALSE(error.hint().empty());
  }
}

}  // namespace
}  // namespace sluice
