// Sizes as people type them on a command line. Pure function.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice::tool {

/// Bytes of "1048576", "64MiB", "64M" or "2GB": a whole number and at most one unit, in any case: B; K M G T and KiB
/// MiB GiB TiB count in 1024s, KB MB GB TB in 1000s. Nothing for all else: a sign, a fraction, a space, more than 64
/// bits.
std::optional<std::uint64_t> parse_size(std::string_view text) noexcept;

}  // namespace sluice::tool
