// gpus(): how many GPUs the driver sees: two on the simulator, perhaps one where a test runs on a real driver.
#pragma once

#include <vector>

#include "cuda/driver.hpp"
#include "sluice/device.hpp"

namespace sluice {

inline int gpus() {
  int count = 0;
  check(driver(), driver().cuDeviceGetCount(&count), "cuDeviceGetCount");
  return count;
}

/// Two, where there are two.
inline std::vector<DeviceId> two_gpus() {
  return gpus() < 2 ? std::vector{cuda(0)} : std::vector{cuda(0), cuda(1)};
}

}  // namespace sluice
