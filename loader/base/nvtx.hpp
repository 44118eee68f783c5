// NVTX: tells a profiler (Nsight Systems) of spans, as ranges of a domain "sluice" with extent, tensors and bytes as
// payload. Where none listens, or sluice was built without NVTX's headers, nothing is done.
// NVTX looks for its profiler by itself, once, in the environment variable NVTX_INJECTION64_PATH, which profilers set:
// that is the one variable that is read on sluice's account. Threads: any, at any time.
#pragma once

#include <cstdint>

#include "sluice/trace.hpp"

namespace sluice::nvtx {

/// Settled at the first call, for good.
bool listens() noexcept;

/// A range of this thread; they nest.
void push(const Span& span) noexcept;
void pop() noexcept;

/// A range that may overlap others and end on another thread.
std::uint64_t start(const Span& span) noexcept;
void end(std::uint64_t range) noexcept;

}  // namespace sluice::nvtx
