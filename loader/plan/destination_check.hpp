// What is asked of a destination before anything is routed to it: a name, a shape, memory that holds it. Pure.
#pragma once

#include <cstdint>

#include "sluice/destination.hpp"

namespace sluice {

/// Bytes of the destination's elements, without the gaps of strides. REQUIRES: check_destination() has accepted it.
std::uint64_t bytes_of(const Destination& destination) noexcept;

/// Bytes from its first element's to behind its last one's. REQUIRES: as above.
std::uint64_t span_bytes_of(const Destination& destination) noexcept;

/// Throws Error{invalid_argument} for what cannot be meant.
void check_destination(const Destination& destination);

}  // namespace sluice
