// Trace: what a load did and when: how reads, copies and kernels overlapped, and who waited for what. A load keeps one
// if Options::trace is set; Load::trace() returns it. Plain values, taken at one moment.
//
// All times are nanoseconds of std::chrono::steady_clock since its epoch, like a caller's own. Copies and kernels are
// timed by the GPU's clock, which is compared with that one once per second.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sluice/export.hpp"

namespace sluice {

/// Something that took time.
struct Span {
  enum class What : std::uint8_t {
    open,      // Checkpoint::open(): row "caller"
    plan,      // make_plan(): row "caller"
    start_up,  // making the ring and the first slab before the first read: row "engine"
    populate,  // touching fresh host memory before an extent is read into it: row "host"
    read,      // an extent from storage, from its submission until the engine learns that it ended: row "reader"
    copy,      // an extent from its slab to a GPU, by the GPU's clock: rows "cuda:0 copies" and so on
    deliver,   // casting and placing an extent: rows "cuda:0 kernels" and so on, by the GPU's clock, and "host"
    wait,      // row "engine": for a read, a lane or a caller; row "caller": for a tensor or the end
  };
  static constexpr std::uint32_t no_extent = 0xffffffff;

  What what = What::wait;
  std::uint16_t row = 0;             // index into Trace::rows
  std::uint32_t extent = no_extent;  // its number in the plan, in the order of reading
  std::uint32_t tensors = 0;         // that it is about: of an extent, those it has a part of, once per device
  std::uint64_t bytes = 0;           // that the extent reads; for a plan, all that it reads
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
};

/// "open", "plan", "start-up", "populate", "read", "copy", "deliver", "wait".
SLUICE_API std::string_view name(Span::What what) noexcept;

struct Trace {
  /// The names of the places where things happen. Copies to one GPU follow one another, and so do its kernels and
  /// the engine's spans; on rows "caller", "reader" and "host" spans may overlap.
  std::vector<std::string> rows;
  std::vector<Span> spans;  // in the order in which the engine learned that they ended
  std::uint64_t dropped =
      0;  // spans that were dropped: after the first million, or because the driver could not time them
};

}  // namespace sluice
