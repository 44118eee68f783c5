// ReadProgress: how far one read has come: what to ask the kernel for next, and when it has ended. Shared by all
// readers that read, since each must continue short reads, try again what was refused for the moment, and tell the end
// of a file from both.
#pragma once

#include <cerrno>
#include <cstdint>

#include "loader/base/alignment.hpp"
#include "loader/base/limits.hpp"
#include "loader/read/reader.hpp"

namespace sluice {

/// Whether a call that failed with this errno may succeed when it is made again. ECANCELED is what io_uring answers for
/// a read that it could not begin: a signal came while it made a thread for it, or no thread could be made
/// (io_uring/io-wq.c).
constexpr bool is_passing(int error) noexcept {
  return error == EINTR || error == EAGAIN || error == EBUSY || error == ENOMEM || error == ECANCELED;
}

class ReadProgress {
 public:
  ReadProgress() = default;
  explicit ReadProgress(const Read& read) noexcept : read_(read), ended_(read.bytes == 0) {}

  const Read& read() const noexcept { return read_; }
  bool ended() const noexcept { return ended_; }
  /// The last answer was "not now".
  bool refused() const noexcept { return refusals_ > 0; }

  /// What to ask for next.
  std::uint64_t offset() const noexcept { return read_.offset + got_; }
  std::byte* target() const noexcept { return read_.target + got_; }
  std::uint32_t bytes() const noexcept {
    const std::uint32_t left = read_.bytes - got_;
    if (read_.path != ReadPath::direct) return left;
    // The end of a file need not be aligned, but the length of a direct read must be.
    return static_cast<std::uint32_t>(align_up(left, limits::direct_alignment_bytes));
  }

  /// The kernel's answer: bytes, 0 at the end of the file, or a negative errno. A passing one ends the read only when
  /// it has been the answer limits::tries_max times in a row.
  void add(int result) noexcept {
    if (is_passing(-result) && ++refusals_ < limits::tries_max) return;
    if (result <= 0) {
      error_ = -result;
      ended_ = true;
      return;
    }
    refusals_ = 0;
    const std::uint64_t got = std::uint64_t{got_} + static_cast<std::uint32_t>(result);
    got_ = got < read_.bytes ? static_cast<std::uint32_t>(got) : read_.bytes;
    // A direct read that stops off any block boundary has met the end of the file, and could not go on from there.
    constexpr std::uint32_t least_block = 512;
    ended_ = got_ == read_.bytes || (read_.path == ReadPath::direct && got_ % least_block != 0);
  }

  Done done() const noexcept { return {read_.tag, got_, error_}; }

 private:
  Read read_;
  std::uint32_t got_ = 0;
  unsigned refusals_ = 0;  // in a row
  int error_ = 0;
  bool ended_ = false;
};

}  // namespace sluice
