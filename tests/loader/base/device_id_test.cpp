// Goal: a device's name and its id are one to one, and lists of devices are read strictly.
// Method: names written and read back; lists that can be meant, and many that cannot.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "sluice/device.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(DeviceId, ReadsTheNamesThatItWrites) {
  for (const DeviceId device : {host(), null(), cuda(0), cuda(7), cuda(2147483647)}) {
    EXPECT_THAT(parse_devices(name(device)), ElementsAre(device)) << name(device);
  }
  EXPECT_EQ(name(host()), "host");
  EXPECT_EQ(name(null()), "null");
  EXPECT_EQ(name(cuda(3)), "cuda:3");
}

TEST(DeviceId, ReadsListsInTheirOrder) {
  EXPECT_THAT(parse_devices("cuda"), ElementsAre(cuda(0)));
  EXPECT_THAT(parse_devices("cuda:1,cuda:0"), ElementsAre(cuda(1), cuda(0)));
  EXPECT_THAT(parse_devices("cuda:0,1,2"), ElementsAre(cuda(0), cuda(1), cuda(2)));
  EXPECT_THAT(parse_devices("cuda,1"), ElementsAre(cuda(0), cuda(1)));
  EXPECT_THAT(parse_devices("host,cuda:3,null"), ElementsAre(host(), cuda(3), null()));
}

TEST(DeviceId, RefusesWhatIsNoDevice) {
  for (const char* list : {"",       ",",         "host,",    ",host",           "Host",
                           "HOST",   " host",     "host ",    "host:0",          "null:0",
                           "gpu",    "cpu",       "0",        "0,cuda:1",        "host,1",
                           "cuda:",  "cuda:-1",   "cuda:+1",  "cuda: 1",         "cuda:1 ",
                           "cuda:x", "cuda:1x",   "cuda:0x1", "cuda:2147483648", "cuda:99999999999999999999",
                           "cuda0",  "cuda:0,,1", "cuda:0;1", "cuda:0,-1"}) {
    try {
      parse_devices(list);
      ADD_FAILURE() << "\"" << list << "\" is taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << list;
      EXPECT_THAT(error.what(), HasSubstr("cuda:N")) << list;
    }
  }
}

TEST(DeviceId, RefusesADeviceNamedTwice) {
  for (const char* list : {"host,host", "cuda,cuda:0", "cuda:0,1,cuda:1", "cuda:1,01", "null,host,null"}) {
    try {
      parse_devices(list);
      ADD_FAILURE() << "\"" << list << "\" is taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << list;
      EXPECT_THAT(error.what(), HasSubstr("twice")) << list;
    }
  }
}

}  // namespace
}  // namespace sluice
