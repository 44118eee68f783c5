// Runner: what launches the kernel in its tests: the PTX interpreter, or a GPU in the programs that are built for it.
#pragma once

#include "tests/cuda/kernel_runner.hpp"
#ifdef SLUICE_ON_GPU
#include "tests/gpu/gpu_runner.hpp"
#endif

namespace sluice {

#ifdef SLUICE_ON_GPU
using Runner = GpuRunner;
#else
using Runner = KernelRunner;
#endif

}  // namespace sluice
