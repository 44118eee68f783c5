// How fast one GPU takes pinned host memory: the limit of every load onto it. For who measures; no load needs it.
#pragma once

#include "cuda/context.hpp"

namespace sluice {

/// Bytes a second of copies from pinned host memory to the device, in pieces as long as a slab, queued so many at a
/// time that the queueing does not count. Takes some 0.1 s, longer where a single piece does. Blocks; any thread.
/// Throws Error{out_of_memory, device_unavailable}.
double measure_link(const Context& context);

}  // namespace sluice
