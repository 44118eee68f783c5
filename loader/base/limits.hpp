// Limits: the bounds that sluice sets itself, each with its reason, and with them those that a caller can meet
// (sluice/limits.hpp).
#pragma once

#include <chrono>
#include <cstdint>

#include "sluice/limits.hpp"  // IWYU pragma: export

namespace sluice::limits {

// How often storage or the ring may answer "not now" (EINTR, EAGAIN, EBUSY, ENOMEM) to one request before it is an
// error, and the pause between two tries. Together a second: memory that is short for a moment is back by then, and
// what a file system refuses longer it refuses for good.
inline constexpr unsigned tries_max = 100;
inline constexpr std::chrono::milliseconds retry_pause{10};

// Shards that one load keeps open at a time: twice the extents that storage works on at a time, where each is of a
// shard of its own and as many are made ready ahead.
inline constexpr std::uint64_t shards_open_max = 2 * std::uint64_t{queue_depth_max};

// The alignment of offset, length and memory that every O_DIRECT read of ours keeps: the page size, which no block
// device known exceeds. A file whose file system asks for more is read buffered.
inline constexpr std::uint32_t direct_alignment_bytes = 4096;
static_assert(slab_bytes_unit % direct_alignment_bytes == 0);

// Unwanted bytes between two wanted ranges of a shard that are read along rather than skipped: at 2 GB/s they take as
// long as one more request.
inline constexpr std::uint64_t gap_bytes_max = 64 * 1024;

// The shortest run of bytes that is read in place: for a shorter one, a copy out of a slab is cheaper than a read of
// its own.
inline constexpr std::uint64_t in_place_bytes_min = 256 * 1024;

// Copies of one extent to one CUDA device that are cheaper than a copy to scratch and a kernel launch.
inline constexpr unsigned copies_per_extent_max = 4;

// The shortest rows that a copy engine takes out of a slab by itself: for shorter ones, the cost of a row exceeds that
// of its bytes, and a kernel moves them.
inline constexpr std::uint64_t copy_row_bytes_min = 256;

// How many copies bring to scratch only what a GPU needs of an extent, where that is less than all; each takes the
// driver some 2 us. More only where each saves copy_gap_bytes_max. Rows that are shorter, or runs that are closer
// together, than what one request on the link carries are not worth a row or a copy of their own.
inline constexpr unsigned gathers_max = 16;
inline constexpr std::uint64_t gather_row_bytes_min = 32;
inline constexpr std::uint64_t gather_gap_bytes_max = 512;

// Bytes between what a GPU needs of an extent and the table of its deliveries that are copied along rather than
// skipped: at 25 GB/s they take as long as one more copy.
inline constexpr std::uint64_t copy_gap_bytes_max = 64 * 1024;

// What a tensor that sluice places is aligned to at least, where it is large enough: what CUDA's own allocator gives.
inline constexpr std::uint32_t tensor_alignment_bytes = 256;

}  // namespace sluice::limits
