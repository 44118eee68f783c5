// Reader: moves extents from storage into memory, slab or arena; the engine hands it reads and it hands back
// completions. One engine thread makes all calls. A reader never decides what is read next, and it never throws for
// what storage does: that is a Done with an errno. Storage that answers "not now" is asked again, at most
// limits::tries_max times.
//
// There are three: UringReader where the kernel allows io_uring; PreadReader, a pool of threads, where it does not;
// NullReader, which reads nothing, to measure the rest. All throw std::bad_alloc, and then what was asked for has not
// happened and nothing is lost.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "loader/base/stopwatch.hpp"
#include "loader/base/wakeup.hpp"
#include "sluice/options.hpp"
#include "sluice/stats.hpp"

namespace sluice {

/// How one read goes to storage.
enum class ReadPath : std::uint8_t {
  direct,    // O_DIRECT, past the page cache
  buffered,  // through the page cache, which may have to fetch it
  cached,    // out of the page cache, where it lies already: a memory copy, which needs a processor of its own
};

struct Read {
  std::uint64_t offset = 0;     // in the file; for direct a multiple of limits::direct_alignment_bytes
  std::byte* target = nullptr;  // for direct aligned likewise, with room for `bytes` rounded up to that alignment
  std::uint32_t bytes = 0;
  std::uint32_t file = 0;  // what add_file() returned
  ReadPath path = ReadPath::buffered;
  bool in_slabs = false;  // `target` lies in the memory given to use_slabs()
  std::uint64_t tag = 0;  // comes back in Done
};

struct Done {
  std::uint64_t tag = 0;
  std::uint32_t bytes = 0;  // less than asked for only where the file ends or `error` is set
  int error = 0;            // an errno, or 0
};

class Reader {
 public:
  /// Waits for, or calls off, what is in flight: afterwards no descriptor is used. Memory that the ring was reading
  /// into may still be written to by the kernel, which keeps its pages until then.
  virtual ~Reader() = default;

  virtual ReaderKind kind() const noexcept = 0;

  /// Names the memory that most reads will go to, so that it can be registered, each slab with its first read; an empty
  /// span takes it back. A refusal is no error, but a fallback. REQUIRES: nothing is in flight.
  virtual void use_slabs(std::span<std::byte> slabs, std::vector<Fallback>& fallbacks) = 0;
  /// What was refused since then.
  virtual std::optional<Fallback> late_refusal() const { return std::nullopt; }

  /// Makes an open descriptor known; it stays the caller's and must stay open until remove_file().
  virtual std::uint32_t add_file(int descriptor) = 0;
  /// REQUIRES: nothing of that file is in flight.
  virtual void remove_file(std::uint32_t file) noexcept = 0;

  /// Takes a read, which is in flight from now until wait() has told of it. Never blocks.
  /// REQUIRES: fewer than Options::queue_depth are in flight; the engine keeps count.
  virtual void submit(const Read& read) = 0;

  /// Appends what has finished to `done`. Where `block`, sleeps until there is at least one, or until the engine's
  /// Wakeup is notified, since it was last cleared; it may return earlier with nothing. It clears the Wakeup, and then
  /// returns without sleeping again, so that the engine looks at its marks. All that was submitted goes to the kernel
  /// at the latest here. Allocates only where `done` has no room for Options::queue_depth more. Throws Error{system}
  /// where the kernel refuses to wait, now or after limits::tries_max tries; the reader is of no use then.
  virtual void wait(std::vector<Done>& done, bool block) = 0;

  /// The clock by which storage works, of which only differences count: in tests a simulated one.
  virtual std::int64_t now_ns() const noexcept { return steady_now_ns(); }
};

/// The reader that `options` ask for; for ReaderKind::automatic the first of uring, pread that this machine allows,
/// each refusal appended to `fallbacks`. `wakeup` must outlive it. Called on the thread that will use it. Throws
/// Error{reader_unavailable} where the one that was asked for is refused.
std::unique_ptr<Reader> make_reader(const Options& options, Wakeup& wakeup, std::vector<Fallback>& fallbacks);

}  // namespace sluice
