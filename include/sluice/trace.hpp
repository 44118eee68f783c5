// Trace: what a load did and when, to be looked at afterwards: how reads, copies and kernels overlapped, and who waited
// for what. Kept where Options::trace is set; Load::trace() gives it. Plain values, taken at one moment.
//
// All times are nanoseconds of std::chrono::steady_clock since its epoch, so that they fit beside the caller's own;
// those of copies and kernels on a GPU are the GPU's, set against that clock once a second.
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
    start_up,  // making ring, devices and first slabs before the first read: row "engine"
    populate,  // touching fresh host memory before an extent is read into it: row "host"
    read,      // an extent out of storage, from its submission until the engine knows of its end: row "reader"
    copy,      // an extent out of its slab to a GPU, by the GPU's clock: rows "cuda:0 copies" and so on
    deliver,   // casting and placing an extent: rows "cuda:0 kernels" and so on, by the GPU's clock, and "host"
    wait,  // row "engine": until a read, a lane or a caller has something to say; row "caller": until a tensor is there
  };
  static constexpr std::uint32_t no_extent = 0xffffffff;

  What what = What::wait;
  std::uint16_t row = 0;             // index into Trace::rows
  std::uint32_t extent = no_extent;  // its number in the plan, in order of shard and offset
  std::uint32_t tensors = 0;         // how many tensors it is about, of an extent those of which it has a part; on
                                     // several devices each counts
  std::uint64_t bytes = 0;           // of the extent, as read; of a plan, all that it reads
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
};

/// "open", "plan", "start-up", "populate", "read", "copy", "deliver", "wait".
SLUICE_API std::string_view name(Span::What what) noexcept;

struct Trace {
  /// The places where things happen, each by its name. Copies to one GPU follow one another, and so do its kernels and
  /// the engine's spans; on rows "caller", "reader" and "host" spans may overlap.
  std::vector<std::string> rows;
  std::vector<Span> spans;    // in the order in which they were known to have ended
  std::uint64_t dropped = 0;  // spans that were not kept: beyond the first million, or not timed by a GPU's driver
};

}  // namespace sluice
