// Options of an engine and of the plans that it runs. Pass the same value to make_plan() and to Engine.
#pragma once

#include <cstdint>
#include <string_view>

#include "sluice/export.hpp"

namespace sluice {

enum class IoMode : std::uint8_t {
  automatic,  // extent by extent: cached bytes are copied out of the page cache, all others are read with O_DIRECT
  direct,     // O_DIRECT wherever the file system allows it: to measure storage
  buffered,   // never O_DIRECT: leaves the model in the page cache for the next process
};

enum class ReaderKind : std::uint8_t {
  automatic,  // the first that this machine allows: uring, pread
  uring,      // io_uring, or Error{reader_unavailable}
  pread,      // threads that call pread: where io_uring is refused
  null,       // reads nothing and says it did: to measure everything behind it. What it delivers is noise.
};

struct Options {
  // What it does.

  /// How storage is read. A wrong choice costs speed, never correctness.
  IoMode io = IoMode::automatic;
  /// Who reads it.
  ReaderKind reader = ReaderKind::automatic;
  /// Each load keeps a Trace. A span costs a few tenths of a microsecond and 40 bytes; an extent makes a few of them,
  /// and up to four CUDA events on a GPU.
  bool trace = false;

  // How fast it does it.

  /// The most host memory in bytes that all slabs together take; 256 KiB at least. A load uses what storage is found to
  /// need, and what devices are behind; distant storage makes use of all of the default. Less than 16 MiB costs speed
  /// on any storage.
  std::uint64_t staging_bytes = 128ull << 20;
  /// Bytes of one slab, and so the most that one extent has: a multiple of 64 KiB. 0: 4 MiB, or less if staging is
  /// small.
  /// Small slabs cost system calls, large ones delay the first tensor.
  std::uint64_t slab_bytes = 0;
  /// The most reads in flight at a time, 1 to 256; how many there are is found while running. 0: 32.
  unsigned queue_depth = 0;
  /// Threads that cast, copy out of the page cache and touch fresh memory, 1 to 256. 0: one per processor, 16 at most.
  unsigned threads = 0;
};

/// `options` with every 0 replaced by what it stands for. Throws Error{invalid_argument} for values outside the bounds
/// above.
SLUICE_API Options resolve(Options options);

SLUICE_API std::string_view name(IoMode io) noexcept;          // "auto", "direct", "buffered"
SLUICE_API std::string_view name(ReaderKind reader) noexcept;  // "auto", "uring", "pread", "null"

}  // namespace sluice
