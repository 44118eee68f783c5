#include "cuda/link_rate.hpp"

#include <cstdint>
#include <cstring>

#include "cuda/device_memory.hpp"
#include "loader/base/stopwatch.hpp"

namespace sluice {
namespace {

constexpr std::uint64_t piece_bytes = 4ull << 20;
constexpr std::uint64_t pieces = 4;
// Until as many copies as are queued at a time take this long, twice as many are: so neither the call that queues one
// nor the wait for the last counts.
constexpr double enough_seconds = 0.05;

/// Queues `copies` of the pieces in turn, and waits for them.
double copy_pieces(const Context& context, const Stream& stream, const PinnedMemory& source, const DeviceMemory& target,
                   std::uint64_t copies) {
  const Stopwatch stopwatch;
  for (std::uint64_t i = 0; i < copies; ++i) {
    const std::uint64_t offset = i % pieces * piece_bytes;
    context.check(
        context.driver().cuMemcpyHtoDAsync(target.pointer() + offset, static_cast<std::byte*>(source.data()) + offset,
                                           piece_bytes, stream.handle()),
        "cuMemcpyHtoDAsync");
  }
  stream.synchronize();
  return stopwatch.seconds();
}

}  // namespace

double measure_link(const Context& context) {
  const PinnedMemory source(context, pieces * piece_bytes);
  std::memset(source.data(), 1, pieces * piece_bytes);
  const DeviceMemory target(context, pieces * piece_bytes);
  const CurrentContext current(context);
  const Stream stream(context);
  for (std::uint64_t copies = 1;; copies *= 2) {
    const double seconds = copy_pieces(context, stream, source, target, copies);
    // The first copies wake a link that has gone to sleep; a link on which one of them takes long has none.
    if (seconds >= enough_seconds) return static_cast<double>(copies * piece_bytes) / seconds;
  }
}

}  // namespace sluice
