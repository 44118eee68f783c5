// Limits: every bound that sluice puts on what it is given, each with its reason. What passes one is refused with
// Error{limit_exceeded}, or Error{invalid_argument} where the caller chose the value; the message names the limit.
#pragma once

#include <cstdint>

namespace sluice::limits {

// Bytes of a shard's JSON header. The reference's own bound (MAX_HEADER_SIZE in safetensors/src/tensor.rs), inclusive.
inline constexpr std::uint64_t header_bytes_max = 100'000'000;

// Tensors of one checkpoint. Indices are 32 bits wide; the largest checkpoints known have 300,000.
inline constexpr std::uint64_t tensors_max = 1u << 24;

// Bytes of one tensor's name. Names travel in messages and listings; the longest known have some 120.
inline constexpr std::uint64_t name_bytes_max = 64 * 1024;

// Dimensions of one tensor. PyTorch and NumPy allow of 64.
inline constexpr std::uint64_t dimensions_max = 64;

// Shards of one checkpoint. The largest known has 282.
inline constexpr std::uint64_t shards_max = 65'536;

// Bytes of a *.safetensors.index.json. An entry takes some 100 bytes: room for tensors_max of them.
inline constexpr std::uint64_t index_bytes_max = 2'000'000'000;

// Bytes of a rule's pattern: as long as a name may be.
inline constexpr std::uint64_t pattern_bytes_max = name_bytes_max;

// Shards that one load keeps open at a time: twice the extents that storage works on at a time, where each is of a shard
// of its own and as many are made ready ahead.
inline constexpr std::uint64_t shards_open_max = 512;

// Extents of one plan, counted as the bytes that it wants in slabs: some 100 bytes of host memory each, and what keeps
// a sparse file of exabytes from taking all of it. With slabs of 4 MiB it is 64 TiB.
inline constexpr std::uint64_t extents_max = 1u << 24;

// Devices of one request. A node has 8 or 16 GPUs; deliveries name a device in 8 bits.
inline constexpr std::uint64_t devices_max = 64;

// Slabs. O_DIRECT wants multiples of the block size, huge pages want 2 MiB; one read of more than 1 GiB is cut by the
// kernel.
inline constexpr std::uint64_t slab_bytes_unit = 64 * 1024;
inline constexpr std::uint64_t slab_bytes_max = 1ull << 30;
inline constexpr std::uint64_t staging_bytes_min = 256 * 1024;
inline constexpr std::uint64_t staging_bytes_max = 1ull << 40;

// Reads in flight and threads: beyond these, more only costs memory.
inline constexpr unsigned queue_depth_max = 256;
inline constexpr unsigned threads_max = 256;
static_assert(shards_open_max == 2 * queue_depth_max);

// The alignment of offset, length and memory that every O_DIRECT read of ours keeps: the page size, which no block
// device known exceeds. A file whose file system asks for more is read buffered.
inline constexpr std::uint32_t direct_alignment_bytes = 4096;
static_assert(slab_bytes_unit % direct_alignment_bytes == 0);
static_assert(staging_bytes_min % slab_bytes_unit == 0);

// Unwanted bytes between two wanted ranges of a shard that are read along rather than skipped: at 2 GB/s they take as
// long as one more request.
inline constexpr std::uint64_t gap_bytes_max = 64 * 1024;

// The least run of bytes that is read in place: below it, a copy out of a slab is cheaper than a read of its own.
inline constexpr std::uint64_t in_place_bytes_min = 256 * 1024;

// Copies of one extent to one CUDA device that are cheaper than a copy to scratch and a kernel launch.
inline constexpr unsigned copies_per_extent_max = 4;

// Bytes between what a GPU needs of an extent and the table of its deliveries that are copied along rather than
// skipped: at 25 GB/s they take as long as one more copy.
inline constexpr std::uint64_t copy_gap_bytes_max = 64 * 1024;

// Spans that a load's trace keeps, of 40 bytes each. With extents of 4 MiB a terabyte to one GPU has some 750,000.
inline constexpr std::uint64_t trace_spans_max = 1u << 20;

// What a tensor that sluice places is aligned to at least, where it is large enough: what CUDA's own allocator gives.
inline constexpr std::uint32_t tensor_alignment_bytes = 256;

}  // namespace sluice::limits
