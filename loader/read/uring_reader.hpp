// UringReader: reads through io_uring, with registered files and buffers where the kernel allows. It hands two kinds of
// reads to threads: what lies in the page cache, since the kernel would copy it on the engine's thread, and what the
// ring cannot do for the moment, since a thread can pause and try again.
#pragma once

#include <liburing.h>

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "loader/read/pread_pool.hpp"
#include "loader/read/read_progress.hpp"
#include "loader/read/reader.hpp"

namespace sluice {

class UringReader final : public Reader {
 public:
  /// Flags to set a ring up with, the cheapest first; a kernel that does not know one answers EINVAL. DEFER_TASKRUN
  /// (Linux 6.1) finishes reads inside wait() instead of interrupting the thread; COOP_TASKRUN (5.19) is the next best.
  static constexpr std::array<unsigned, 3> flag_sets = {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
                                                        IORING_SETUP_COOP_TASKRUN, 0};

  /// A reader whose ring has the first of `candidates` that the kernel knows; or nullptr, and in `refusal` what refused
  /// the ring and what would allow it. Must be called, used and destroyed on one thread.
  static std::unique_ptr<UringReader> make(const Options& options, Wakeup& wakeup, std::vector<Fallback>& fallbacks,
                                           std::string& refusal, std::span<const unsigned> candidates = flag_sets);
  ~UringReader() override;

  ReaderKind kind() const noexcept override { return ReaderKind::uring; }
  void use_slabs(std::span<std::byte> slabs, std::vector<Fallback>& fallbacks) override;
  std::uint32_t add_file(int descriptor) override;
  void remove_file(std::uint32_t file) noexcept override;
  void submit(const Read& read) override;
  void wait(std::vector<Done>& done, bool block) override;
  std::optional<Fallback> late_refusal() const override;

 private:
  UringReader(const Options& options, Wakeup& wakeup);

  struct File {
    int descriptor = -1;   // -1: the number is free
    bool in_ring = false;  // the ring's table holds it under its number: it is read so
  };

  // What these return: 0, or a negative errno.
  int make_buffer_table();
  int register_all();
  int register_chunk(std::size_t number) noexcept;
  iovec chunk_at(std::uint64_t offset) const noexcept;
  Fallback refused_buffers(int error) const;
  /// The chunk of registered memory that the ring reads it into, registered now if need be; nothing for other memory.
  std::optional<std::size_t> registered_chunk_of(const Read& read) noexcept;
  /// False where neither thread nor memory is to be had.
  bool hand_to_pool(const ReadProgress& progress) noexcept;
  void ask(std::uint32_t slot);
  io_uring_sqe* next_sqe();
  void arm_wakeup();
  /// Submits what was asked for, and sleeps where `block`.
  void enter(bool block);
  /// Whether the wakeup was among them.
  bool take_completions(std::vector<Done>& done);
  void take_answer(std::uint32_t slot, int result, std::vector<Done>& done);

  Wakeup& wakeup_;
  std::uint64_t slab_bytes_;
  io_uring ring_{};
  bool has_ring_ = false;
  bool wakeup_armed_ = false;
  unsigned refused_enters_ = 0;  // in a row

  std::vector<File> files_;        // by number
  std::uint32_t table_files_ = 0;  // numbers below it have a place in the ring's table

  std::span<std::byte> slabs_;
  std::uint64_t chunk_bytes_ = 0;
  std::vector<bool> registered_;  // by chunk of the slabs; empty where the ring has no table of them
  int late_error_ = 0;            // of a chunk behind the first

  std::vector<ReadProgress> slots_;  // reads in the ring, by user_data
  std::vector<std::uint32_t> free_slots_;
  unsigned pool_threads_;
  std::unique_ptr<PreadPool> pool_;  // made when it is needed
};

}  // namespace sluice
