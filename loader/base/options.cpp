#include "sluice/options.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "loader/base/limits.hpp"
#include "loader/base/thread.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

// Defaults, for options that the caller leaves at 0. 32 reads of 4 MiB are all of the default's staging; more threads
// than 16 find no more memory bandwidth to use.
constexpr std::uint64_t slab_bytes_default = 4ull << 20;
constexpr unsigned queue_depth_default = 32;
constexpr unsigned threads_default_max = 16;

// The fewest slabs that the default makes room for: one being read, one delivered, one on its way in each direction.
constexpr std::uint64_t slabs_min = 4;
static_assert(limits::staging_bytes_min / slabs_min >= limits::slab_bytes_unit);

void check_bounds(std::string_view what, std::uint64_t value, std::uint64_t least, std::uint64_t most) {
  if (value >= least && value <= most) return;
  throw Error(ErrorCode::invalid_argument, fmt::format("{} is {}, outside {} to {}", what, value, least, most));
}

}  // namespace

Options resolve(Options options) {
  check_bounds("staging_bytes", options.staging_bytes, limits::staging_bytes_min, limits::staging_bytes_max);
  if (options.slab_bytes == 0) {
    const std::uint64_t share = options.staging_bytes / slabs_min;
    options.slab_bytes = std::min(slab_bytes_default, share - share % limits::slab_bytes_unit);
  }
  check_bounds("slab_bytes", options.slab_bytes, limits::slab_bytes_unit,
               std::min(limits::slab_bytes_max, options.staging_bytes));
  if (options.slab_bytes % limits::slab_bytes_unit != 0) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("slab_bytes is {}, not a multiple of {}", options.slab_bytes, limits::slab_bytes_unit));
  }
  if (options.queue_depth == 0) options.queue_depth = queue_depth_default;
  check_bounds("queue_depth", options.queue_depth, 1, limits::queue_depth_max);
  if (options.threads == 0) options.threads = std::min(processor_count(), threads_default_max);
  check_bounds("threads", options.threads, 1, limits::threads_max);
  return options;
}

std::string_view name(IoMode io) noexcept {
  switch (io) {
    case IoMode::automatic:
      return "auto";
    case IoMode::direct:
      return "direct";
    case IoMode::buffered:
      return "buffered";
  }
  return "unknown";
}

std::string_view name(ReaderKind reader) noexcept {
  switch (reader) {
    case ReaderKind::automatic:
      return "auto";
    case ReaderKind::uring:
      return "uring";
    case ReaderKind::pread:
      return "pread";
    case ReaderKind::null:
      return "null";
  }
  return "unknown";
}

}  // namespace sluice
