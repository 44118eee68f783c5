// Goal: the table is filled out of drivers of any age, and whatever is wrong is an Error that says what to do.
// Method: the simulated driver, whose version and answers can be set, and whose symbols can be hidden one by one.
#include "cuda/driver.hpp"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/control.hpp"

namespace sluice {
namespace {

using cu::Result;
using testing::AllOf;
using testing::HasSubstr;

/// The simulated driver's symbols, but for some.
std::function<void*(const char*)> symbols_without(std::set<std::string> hidden) {
  return [hidden = std::move(hidden)](const char* name) -> void* {
    return hidden.count(name) != 0 ? nullptr : dlsym(dlopen("libcuda.so.1", RTLD_NOW), name);
  };
}

/// What the action throws; fails the test where it throws nothing.
Error error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "throws nothing";
  return {ErrorCode::system, ""};
}

class DriverTest : public testing::Test {
 protected:
  DriverTest() { begin({}); }
  ~DriverTest() override { sim::reset(); }

  static void begin(sim::Settings settings) {
    settings.initialized = false;
    sim::reset(settings);
  }
};

TEST_F(DriverTest, IsLoadedAndInitialised) {
  const Driver driver = open_driver("libcuda.so.1");
  EXPECT_EQ(driver.version, 13000);
  EXPECT_EQ(sim::counters().calls.at("cuInit"), 1u);
  int count = 0;
  EXPECT_EQ(driver.cuDeviceGetCount(&count), Result::success);
  EXPECT_EQ(count, 2);
  EXPECT_NE(driver.cuLibraryLoadData, nullptr);
}

TEST_F(DriverTest, IsFoundByTheOlderWayToo) {
  const Driver newest = start_driver(symbols_without({}));
  const Driver older = start_driver(symbols_without({"cuGetProcAddress_v2"}));
  const Driver oldest = start_driver(symbols_without({"cuGetProcAddress_v2", "cuGetProcAddress"}));
  for (const Driver& driver : {older, oldest}) {
#define SLUICE_EXPECT_SAME(name, symbol, since, arguments) EXPECT_EQ(driver.name, newest.name);
    SLUICE_CUDA_CALLS(SLUICE_EXPECT_SAME, SLUICE_EXPECT_SAME)
#undef SLUICE_EXPECT_SAME
  }
}

TEST_F(DriverTest, LacksWhatCameLater) {
  for (const char* hidden : {"", "cuGetProcAddress_v2"}) {
    sim::Settings settings;
    settings.driver_version = 11040;
    begin(settings);
    const Driver driver = start_driver(symbols_without({hidden}));
    EXPECT_EQ(driver.version, 11040);
    EXPECT_EQ(driver.cuLibraryLoadData, nullptr);
    EXPECT_EQ(driver.cuLibraryGetKernel, nullptr);
    EXPECT_EQ(driver.cuLibraryUnload, nullptr);
    EXPECT_NE(driver.cuDeviceGetUuid, nullptr);
    settings.driver_version = 11030;
    begin(settings);
    EXPECT_EQ(start_driver(symbols_without({hidden})).cuDeviceGetUuid, nullptr);
  }
}

// Nothing of it came later than the oldest driver; but one may lack it.
TEST_F(DriverTest, MayLackVirtualMemory) {
  const Driver driver = start_driver(symbols_without({"cuGetProcAddress_v2", "cuGetProcAddress", "cuMemCreate"}));
  EXPECT_EQ(driver.cuMemCreate, nullptr);
  EXPECT_NE(driver.cuMemMap, nullptr);
}

TEST_F(DriverTest, MustBeThere) {
  const Error error = error_of([] { open_driver("libcuda-that-is-nowhere.so.1"); });
  EXPECT_EQ(error.code(), ErrorCode::device_unavailable);
  EXPECT_THAT(error.what(), AllOf(HasSubstr("there is no CUDA driver: libcuda-that-is-nowhere.so.1"),
                                  HasSubstr("install the NVIDIA driver"), HasSubstr("--gpus all")));
}

TEST_F(DriverTest, MustNotBeTooOld) {
  sim::Settings settings;
  settings.driver_version = 10020;
  begin(settings);
  const Error error = error_of([] { open_driver("libcuda.so.1"); });
  EXPECT_EQ(error.code(), ErrorCode::device_unavailable);
  EXPECT_THAT(error.what(), AllOf(HasSubstr("too old: it is for CUDA 10.2, and 11.0 is needed"),
                                  HasSubstr("cuDevicePrimaryCtxRelease"), HasSubstr("450 series")));
}

TEST_F(DriverTest, MustHaveEveryCallThatIsNotOptional) {
  const Error error = error_of([] {
    start_driver(symbols_without({"cuGetProcAddress_v2", "cuGetProcAddress", "cuMemAlloc_v2", "cuInit"}));
  });
  EXPECT_THAT(error.what(), HasSubstr("it lacks cuInit, cuMemAlloc"));
}

TEST_F(DriverTest, SaysWhatToDoAboutAFailureToStart) {
  const std::vector<std::pair<Result, std::string>> hints = {
      {Result::no_device, "CUDA_VISIBLE_DEVICES"},
      {Result::system_driver_mismatch, "reboot after a driver update"},
      {Result::not_initialized, "forked"},
      {Result::unknown, "nvidia_uvm"},
      {Result::system_not_ready, "nvidia-fabricmanager"},
      {Result::mps_connection_failed, "nvidia-cuda-mps-control"},
      {Result::mps_server_not_ready, "nvidia-cuda-mps-control"},
      {Result::stub_library, "LD_LIBRARY_PATH"},
      {Result::compat_not_supported_on_device, "compat"},
      {Result::stream_capture_unsupported, "capturing a graph"},
      {Result{4711}, "NVRM"},
  };
  for (const auto& [result, hint] : hints) {
    sim::fail_call("cuInit", 1, result);
    const Error error = error_of([] { open_driver("libcuda.so.1"); });
    EXPECT_EQ(error.code(), ErrorCode::device_unavailable);
    EXPECT_THAT(error.message(),
                AllOf(HasSubstr("cuInit: "), HasSubstr("(" + std::to_string(static_cast<int>(result)) + ")")));
    EXPECT_THAT(error.hint(), HasSubstr(hint));
  }
  EXPECT_EQ(open_driver("libcuda.so.1").version, 13000) << "a later attempt may succeed";
}

TEST_F(DriverTest, NamesTheErrorAsTheDriverDoes) {
  const Driver driver = open_driver("libcuda.so.1");
  const Error error = driver_error(driver, Result::illegal_address, "cuEventSynchronize", describe_device(driver, 1));
  EXPECT_EQ(error.message(),
            "cuda:1 (simulated GPU, fffe:02:00.0, GPU-73696d75-6c61-7465-6400-000000000001): cuEventSynchronize: "
            "CUDA_ERROR_ILLEGAL_ADDRESS (700): an illegal memory access was encountered");
  EXPECT_THAT(error.hint(), HasSubstr("start it again"));
  EXPECT_EQ(driver_error(driver, Result::out_of_memory, "cuMemAlloc").code(), ErrorCode::out_of_memory);
}

TEST_F(DriverTest, DescribesADeviceAsFarAsItCan) {
  const Driver driver = open_driver("libcuda.so.1");
  sim::fail_call("cuDeviceGetName", 1, Result::unknown);
  EXPECT_THAT(describe_device(driver, 0), testing::StartsWith("cuda:0 (fffe:01:00.0, GPU-"));
  EXPECT_EQ(describe_device(driver, 7), "cuda:7");
}

TEST_F(DriverTest, FindsDevicesByOrdinal) {
  const Driver driver = open_driver("libcuda.so.1");
  EXPECT_EQ(find_device(driver, 1), 1);
  for (const int ordinal : {2, -1}) {
    const Error error = error_of([&] { find_device(driver, ordinal); });
    EXPECT_EQ(error.code(), ErrorCode::device_unavailable);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("cuda:" + std::to_string(ordinal) + ": the driver sees 2 CUDA devices"),
                                    HasSubstr("cuda:0 to cuda:1")));
  }
}

TEST_F(DriverTest, SaysWhichDeviceIsTheOnlyOne) {
  sim::Settings settings;
  settings.devices.resize(1);
  begin(settings);
  const Driver driver = open_driver("libcuda.so.1");
  const Error error = error_of([&] { find_device(driver, 1); });
  EXPECT_THAT(error.what(), AllOf(HasSubstr("sees 1 CUDA device;"), HasSubstr("cuda:0 is the only one")));
}

TEST_F(DriverTest, ThrowsForAnythingButSuccess) {
  const Driver driver = open_driver("libcuda.so.1");
  EXPECT_NO_THROW(check(driver, Result::success, "cuMemFree"));
  EXPECT_THROW(check(driver, Result::not_ready, "cuMemFree"), Error);
}

TEST_F(DriverTest, IsOneAProcessAndRefusesAfterAFork) {
  const Driver& mine = driver();
  EXPECT_EQ(&driver(), &mine);
  EXPECT_EQ(sim::counters().calls.at("cuInit"), 1u);
  const pid_t child = fork();
  if (child == 0) {
    try {
      driver();
    } catch (const Error& error) {
      _exit(std::string(error.what()).find("spawn workers") != std::string::npos ? 0 : 1);
    }
    _exit(2);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace sluice
