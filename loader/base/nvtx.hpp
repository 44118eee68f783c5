// NVTX: tells a profiler (Nsight Systems) of spans, as ranges of a domain "sluice" with extent, tensors and bytes as
// payload. Does nothing where no profiler listens, or where sluice was built without NVTX's headers.
// NVTX itself looks for its profiler, once, in the environment variable NVTX_INJECTION64_PATH, which profilers set. No
// other variable is read on sluice's account. Threads: any, at any time.
#pragma once

#include <cstdint>

#include "sluice/trace.hpp"

namespace sluice::nvtx {

/// Decided at the first call, for good.
bool listens() noexcept;

/// A range of this thread. Ranges nest.
void push(const Span& span) noexcept;
void pop() noexcept;

/// A range that may overlap others and end on another thread.
std::uint64_t start(const Span& span) noexcept;
void end(std::uint64_t range) noexcept;

}  // namespace sluice::nvtx
