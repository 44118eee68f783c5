// stream_copy: copies whose target is not read again soon: past the processor's caches, which then keep the slabs that
// it comes from, and without reading first what is overwritten. Pure functions; any thread.
#pragma once

#include <cstddef>

namespace sluice {

/// What is shorter is better left to memcpy: so much that whole lines of the cache are most of it.
inline constexpr std::size_t stream_bytes_min = 256;

/// As memcpy: from and to any byte. Other threads see the bytes only after end_streams().
void stream_copy(void* target, const void* source, std::size_t bytes) noexcept;

/// Before the thread that called stream_copy() tells another that its bytes are there.
void end_streams() noexcept;

}  // namespace sluice
