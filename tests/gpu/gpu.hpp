// What gpu_check itself does with a GPU, each in a process of its own: a driver that hangs or dies ends no more.
#pragma once

#include <cstdint>

namespace sluice::gpu_check {

/// Prints the driver and its GPUs as JSON. Throws std::runtime_error where there is none, with what
/// to do.
void print_gpus();

/// Prints the rates of the first GPU's link as JSON: copies of so many bytes from and to pinned memory.
void print_link(std::uint64_t bytes);

}  // namespace sluice::gpu_check
