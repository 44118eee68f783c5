// The simulated driver's own entry points, by their symbols, for the sources that define them and for tests that link
// libcuda.so.1. What programs load at run time is the same.
#pragma once

#include "cuda/driver_api.hpp"
#include "tests/sim/capture_api.hpp"

namespace sluice::cu {

extern "C" {
#define SLUICE_DECLARE(name, symbol, since, arguments) __attribute__((visibility("default"))) Result symbol arguments;
SLUICE_CUDA_CALLS(SLUICE_DECLARE, SLUICE_DECLARE)
SLUICE_CAPTURE_CALLS(SLUICE_DECLARE)
#undef SLUICE_DECLARE
__attribute__((visibility("default"))) Result cuGetProcAddress(const char* name, void** entry, int version,
                                                               std::uint64_t flags);
__attribute__((visibility("default"))) Result cuGetProcAddress_v2(const char* name, void** entry, int version,
                                                                  std::uint64_t flags, ProcAddressStatus* status);
}

}  // namespace sluice::cu
