// Limits: every bound on what a caller gives to sluice, each with its reason. Where a checkpoint or a request passes
// one, sluice throws Error{limit_exceeded}, or Error{invalid_argument} where the caller chose the value; the message
// names the limit.
#pragma once

#include <cstdint>

namespace sluice::limits {

// A checkpoint.

// Bytes of a shard's JSON header. The reference's own bound (MAX_HEADER_SIZE in safetensors/src/tensor.rs), inclusive.
inline constexpr std::uint64_t header_bytes_max = 100'000'000;

// Tensors of one checkpoint. Indices are 32 bits wide; the largest checkpoints known have 300,000.
inline constexpr std::uint64_t tensors_max = 1u << 24;

// Bytes of one tensor's name. Names travel in messages and listings; the longest known have some 120.
inline constexpr std::uint64_t name_bytes_max = 64 * 1024;

// Dimensions of one tensor. PyTorch and NumPy allow 64.
inline constexpr std::uint64_t dimensions_max = 64;

// Shards of one checkpoint. The largest known has 282.
inline constexpr std::uint64_t shards_max = 65'536;

// Bytes of a *.safetensors.index.json. An entry takes some 100 bytes: room for tensors_max of them.
inline constexpr std::uint64_t index_bytes_max = 2'000'000'000;

// A request.

// Bytes of a rule's pattern: as long as a name may be.
inline constexpr std::uint64_t pattern_bytes_max = name_bytes_max;

// Devices of one request. A node has 8 or 16 GPUs; deliveries name a device in 8 bits.
inline constexpr std::uint64_t devices_max = 64;

// Pieces of memory that one slice of a destination with strides falls into where it is cut in another shape than the
// destination's own: a plan of more would take minutes, and the destination's own shape says the same at once.
inline constexpr std::uint64_t routes_max = 1u << 20;

// Extents of one plan, counted as the slabs that the wanted bytes fill. Each extent takes some 100 bytes of host
// memory, and a sparse file of exabytes would otherwise take all of it. With slabs of 4 MiB the limit is 64 TiB.
inline constexpr std::uint64_t extents_max = 1u << 24;

// What pieces of a budgeted arena lie at and are multiples of: a huge page, and what CUDA devices map memory in.
inline constexpr std::uint64_t piece_bytes_unit = 2ull << 20;

// Request::budget_bytes: room for a few of the smallest pieces.
inline constexpr std::uint64_t budget_bytes_min = 4 * piece_bytes_unit;
inline constexpr std::uint64_t budget_bytes_max = 1ull << 50;

// Request::piece_bytes where it is 0: as large as a part of the budget may be without the first tensors having to wait
// for memory of many that come later.
inline constexpr std::uint64_t piece_bytes_default_max = 256ull << 20;

// Rules files.

// Bytes of a rules file, or of a configuration that it uses. A plan that is printed as rules takes some 150 bytes per
// rule: room for a million and a half.
inline constexpr std::uint64_t rules_bytes_max = 256u << 20;

// Rules and destinations that a rules file works out to, on all devices together. DeepSeek-V3 onto eight GPUs in one
// process has 720,000; a million takes some 600 MB of host memory.
inline constexpr std::uint64_t rules_max = 1u << 21;

// Steps that working a rules file out may take: numbers that it computes, and names that it compares with patterns. All
// of them take about a second; DeepSeek-V3 onto eight GPUs takes some 40 million.
inline constexpr std::uint64_t rules_steps_max = 1u << 28;

// How deep `for` and parentheses of a rules file may lie in each other. Its parser calls itself for each.
inline constexpr unsigned rules_depth_max = 64;

// Options.

// Slabs. O_DIRECT wants multiples of the block size, huge pages want 2 MiB; the kernel cuts one read of more than
// 1 GiB.
inline constexpr std::uint64_t slab_bytes_unit = 64 * 1024;
inline constexpr std::uint64_t slab_bytes_max = 1ull << 30;
inline constexpr std::uint64_t staging_bytes_min = 256 * 1024;
inline constexpr std::uint64_t staging_bytes_max = 1ull << 40;
static_assert(staging_bytes_min % slab_bytes_unit == 0);

// Reads in flight and threads: beyond these, more only costs memory.
inline constexpr unsigned queue_depth_max = 256;
inline constexpr unsigned threads_max = 256;

// Spans that a load's trace keeps, of 40 bytes each; it counts those that it drops. With extents of 4 MiB a terabyte to
// one GPU has some 750,000.
inline constexpr std::uint64_t trace_spans_max = 1u << 20;

}  // namespace sluice::limits
