// gpus(): how many GPUs the driver sees: two on the simulator, perhaps one where a test runs on a real driver.
#pragma once

#include "cuda/driver.hpp"

namespace sluice {

inline int gpus() {
  int count = 0;
  check(driver(), driver().cuDeviceGetCount(&count), "cuDeviceGetCount");
  return count;
}

}  // namespace sluice
