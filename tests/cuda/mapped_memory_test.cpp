// Goal: a driver or device that cannot map memory is known for one before anything is made, whatever it lacks.
// Method: the simulated driver's table, with each call missing in turn, and each answer failing.
#include "cuda/mapped_memory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/control.hpp"

namespace sluice {
namespace {

using testing::HasSubstr;

class MappedMemoryTest : public testing::Test {
 protected:
  MappedMemoryTest() { sim::reset(); }
  ~MappedMemoryTest() override { sim::reset(); }

  static MappedMemorySupport support(const Driver& driver, int ordinal = 0) {
    return find_mapped_memory_support(driver, find_device(driver, ordinal), ordinal);
  }
};

TEST_F(MappedMemoryTest, IsOfTheDeviceThatIsAskedFor) {
  if (!sim::is_simulated()) GTEST_SKIP() << "another device has other attributes";
  const MappedMemorySupport found = support(driver(), 1);
  EXPECT_EQ(found.refusal, "");
  EXPECT_EQ(found.properties.location.id, 1);
  EXPECT_EQ(found.properties.handle_types, cu::HandleType::posix_file_descriptor);
  EXPECT_EQ(found.properties.gpu_direct_rdma_capable, 1);
  EXPECT_EQ(found.round_up(1), found.granularity);
  EXPECT_EQ(found.round_up(found.granularity), found.granularity);
}

TEST_F(MappedMemoryTest, NeedsEveryCall) {
  const std::vector<std::pair<std::string, std::function<void(Driver&)>>> missing = {
      {"cuMemGetAllocationGranularity", [](Driver& its) { its.cuMemGetAllocationGranularity = nullptr; }},
      {"cuMemAddressReserve", [](Driver& its) { its.cuMemAddressReserve = nullptr; }},
      {"cuMemAddressFree", [](Driver& its) { its.cuMemAddressFree = nullptr; }},
      {"cuMemCreate", [](Driver& its) { its.cuMemCreate = nullptr; }},
      {"cuMemRelease", [](Driver& its) { its.cuMemRelease = nullptr; }},
      {"cuMemMap", [](Driver& its) { its.cuMemMap = nullptr; }},
      {"cuMemUnmap", [](Driver& its) { its.cuMemUnmap = nullptr; }},
      {"cuMemSetAccess", [](Driver& its) { its.cuMemSetAccess = nullptr; }},
  };
  for (const auto& [call, remove] : missing) {
    Driver without = driver();
    remove(without);
    EXPECT_THAT(support(without).refusal, HasSubstr("the driver lacks " + call));
  }
}

TEST_F(MappedMemoryTest, NeedsTheAttributeAndTheGranularity) {
  sim::fail_call("cuDeviceGetAttribute", 1, cu::Result::invalid_value);
  EXPECT_THAT(support(driver()).refusal, HasSubstr("does not manage virtual memory"));
  sim::fail_call("cuMemGetAllocationGranularity", 1, cu::Result::not_permitted);
  EXPECT_THAT(support(driver()).refusal, HasSubstr("cuMemGetAllocationGranularity: CUDA_ERROR_NOT_PERMITTED"));
  EXPECT_EQ(support(driver()).refusal, "");
}

// Drivers that do not know an attribute yet answer that the value is invalid.
TEST_F(MappedMemoryTest, DoesWithoutWhatTheDriverDoesNotTell) {
  sim::fail_call("cuDeviceGetAttribute", 2, cu::Result::invalid_value);
  const MappedMemorySupport not_exported = support(driver());
  EXPECT_EQ(not_exported.refusal, "");
  EXPECT_EQ(not_exported.properties.handle_types, cu::HandleType::none);
  EXPECT_EQ(not_exported.properties.gpu_direct_rdma_capable, 1);
  sim::fail_call("cuDeviceGetAttribute", 3, cu::Result::invalid_value);
  const MappedMemorySupport no_rdma = support(driver());
  EXPECT_EQ(no_rdma.properties.handle_types, cu::HandleType::posix_file_descriptor);
  EXPECT_EQ(no_rdma.properties.gpu_direct_rdma_capable, 0);
}

TEST_F(MappedMemoryTest, IsRefusedByADeviceWithoutUnits) {
  Driver odd = driver();
  odd.cuMemGetAllocationGranularity = [](std::size_t* bytes, const cu::MemoryProperties*, cu::Granularity) {
    *bytes = 0;
    return cu::Result::success;
  };
  EXPECT_NE(support(odd).refusal, "");
}

}  // namespace
}  // namespace sluice
