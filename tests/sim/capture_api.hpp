// The calls by which a program captures a graph, for tests that do so beside sluice, which never does. Declared as
// cuda/driver_api.hpp declares the others; found in whatever driver the process has.
#pragma once

#include <dlfcn.h>

#include "cuda/driver_api.hpp"

namespace sluice::cu {

using Graph = struct GraphHandle*;

// clang-format off
#define SLUICE_CAPTURE_CALLS(row)                                                                                      \
  row(cuStreamBeginCapture, cuStreamBeginCapture_v2, 10010, (Stream stream, CaptureMode mode))                         \
  row(cuStreamEndCapture, cuStreamEndCapture, 10000, (Stream stream, Graph* graph))                                    \
  row(cuGraphDestroy, cuGraphDestroy, 10000, (Graph graph))
// clang-format on

struct CaptureCalls {
  template <typename Signature>
  using Pointer = Signature*;
#define SLUICE_CUDA_POINTER(name, symbol, since, arguments) \
  Pointer<Result arguments> name = reinterpret_cast<Pointer<Result arguments>>(dlsym(driver, #symbol));
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  SLUICE_CAPTURE_CALLS(SLUICE_CUDA_POINTER)
#undef SLUICE_CUDA_POINTER
};

}  // namespace sluice::cu
