// What the plan promises to lanes that launch the delivery kernel: room in each slab for the kernel's table, and device
// memory for slabs on their way. This is CUDA's policy and part of the plan's contract, because the plan says what a
// load will hold and where extents are cut. cuda/delivery_format.hpp says what a table holds; cuda/cuda_lane.cpp
// asserts that both agree.
#pragma once

#include <cstdint>

namespace sluice {

/// Extents that are in a device's scratch at a time, each in a slab of its own.
inline constexpr std::uint64_t scratch_slabs = 4;

/// An extent travels with a table behind it in its slab: one entry per delivery, for each device in turn. No device's
/// copies reach over another one's table.
inline constexpr std::uint64_t table_entry_bytes = 40;

/// The kernel reads vectors of 16 bytes: tables, and what is copied to scratch, begin and end at multiples of them.
inline constexpr std::uint64_t table_alignment_bytes = 16;

}  // namespace sluice
