// ShardFiles: the shards of one load as open files, in whatever order their extents are read. A shard is opened when
// one of its extents needs it and closed after its last. Each time that it is opened it is held to what its header was
// validated by (loader/base/file_identity.hpp); where that does not tell, its header is read again. After its extents
// have been read it is held to its size and time of writing, so that no tensor is published of whose bytes some were
// written later. All this is asked by threads of the asker's: shards are opened ahead of their reads, and one check is
// of all that was read before it began.
// Only so many are open at a time as leave the process most of its descriptors; beyond that, one of which no extent is
// in flight is closed, to be opened again. Threads: the engine's only; the asker's are inside. Errors: Error{io,
// not_found, file_changed}.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <vector>

#include "loader/base/mutex.hpp"
#include "loader/base/regular_file.hpp"
#include "loader/base/task_group.hpp"
#include "loader/plan/plan.hpp"
#include "loader/read/file_asker.hpp"
#include "loader/read/reader.hpp"

namespace sluice {

class ShardFiles {
 public:
  /// All arguments outlive it. Reasons why a shard cannot be read directly are appended to `fallbacks`, each once.
  ShardFiles(const PlanData& plan, Reader& reader, IoMode io, std::vector<Fallback>& fallbacks, FileAsker& asker);
  /// REQUIRES: nothing is in flight. Closes everything, and waits for what is being asked.
  ~ShardFiles();
  ShardFiles(const ShardFiles&) = delete;
  ShardFiles& operator=(const ShardFiles&) = delete;

  struct File {
    static constexpr std::uint32_t unknown = ~std::uint32_t{0};

    int descriptor = -1;               // buffered
    std::uint32_t buffered = unknown;  // as the reader knows it, or unknown to it
    std::uint32_t direct = unknown;    // the same with O_DIRECT; only where `takes_direct`
    int direct_descriptor = -1;
    bool takes_direct = false;
    bool refused_direct = false;  // a read of it; it is not tried again
    bool is_opening = false;      // an asker's thread is at it, or has it for us
    std::uint32_t extents_left = 0;
    std::uint32_t in_flight = 0;  // extents that were begun and are not done, and questions about it
    std::uint64_t last_done = 0;  // reads_done() after its last read; beyond reads_checked() it is not checked yet
  };

  /// The shard, opened if it is not; stays open until the next call, and while an extent of it is in flight. nullptr:
  /// it is being opened, or as many are open as may be, and of each an extent is in flight or has not been checked;
  /// call again when the wakeup was notified, or an extent is done.
  File* open(std::uint32_t shard);
  /// The shard, if it is open.
  const File* find_open(std::uint32_t shard) const noexcept {
    return files_[shard].descriptor >= 0 ? &files_[shard] : nullptr;
  }
  /// REQUIRES: the shard is open. It stays so until release(), or until done_with_extent() where an extent is in
  /// flight.
  void hold(std::uint32_t shard) noexcept;
  void release(std::uint32_t shard) noexcept;
  /// REQUIRES: hold(shard). The extent has been read.
  void done_with_extent(std::uint32_t shard) noexcept;
  /// How many have been read.
  std::uint64_t reads_done() const noexcept { return done_; }
  /// Of how many of those it is known that no shard had changed when they had been read. Closes shards of which all has
  /// been read and checked.
  std::uint64_t reads_checked();
  /// Has all that was read so far checked, of which it is not known yet; the wakeup is notified when it is. False:
  /// there is nothing to check, or a check is under way.
  bool begin_check();
  /// O_DIRECT turned out to be refused when reading: from now on the shard is read buffered.
  void refuse_direct(std::uint32_t shard, int error);
  /// The reader ends before this does: files are closed without telling it.
  void leave_reader() noexcept;
  /// Throws Error{file_changed} with the place where a read of the shard ended early.
  [[noreturn]] void throw_ended_early(std::uint32_t shard, std::uint64_t offset) const;

 private:
  /// What came of opening a shard.
  struct Opened {
    std::uint32_t shard = 0;
    OpenedFile file;
    int direct_descriptor = -1;
    int direct_error = 0;
    std::exception_ptr error;  // what was opened is not what was validated
  };

  bool has_room() const noexcept { return open_.size() + opening_count_ + closing_ < open_most_; }
  bool make_room(std::uint32_t shard, int lacking);
  void open_ahead_of(std::uint32_t shard);
  void begin_to_open(std::uint32_t shard);
  Opened try_to_open(std::uint32_t shard, bool direct) const noexcept;
  int take_opened(std::uint32_t wanted);
  void add(const Opened& opened);
  bool offers_alignment(std::uint32_t shard) const noexcept;
  void take_check();
  bool is_idle(std::uint32_t shard) const noexcept;
  bool close_an_idle_one();
  void close(std::uint32_t shard) noexcept;
  void close_descriptors(int descriptor, int direct_descriptor) noexcept;
  void check_opened(std::uint32_t shard, int descriptor, const struct stat& status) const;
  void check_unwritten(std::uint32_t shard, int descriptor) const;
  [[noreturn]] void throw_refused(std::uint32_t shard, const OpenedFile& file) const;
  [[noreturn]] void throw_changed(std::uint32_t shard, std::uint64_t bytes, const char* how) const;
  void tell_direct_refused(std::uint32_t shard, const std::string& reason);

  const PlanData& plan_;
  Reader& reader_;
  const IoMode io_;
  const std::size_t open_most_;
  std::vector<Fallback>& fallbacks_;
  std::vector<File> files_;           // by shard
  std::vector<std::uint32_t> open_;   // shards, in the order in which they were opened
  std::vector<std::uint32_t> order_;  // shards, in the order of their first extents
  std::vector<std::uint32_t> ranks_;  // by shard: its place in that
  std::size_t next_ahead_ = 0;        // those before it in that order have been begun to open
  std::size_t opening_count_ = 0;
  std::uint64_t done_ = 0;
  std::uint64_t checked_ = 0;
  std::uint64_t checking_ = 0;  // what checked_ will be when the check under way has ended; 0: there is none
  bool told_direct_refused_ = false;
  bool lacked_alone_ = false;  // no shard was open, and yet there was no descriptor for one

  FileAsker& asker_;
  std::atomic<std::size_t> closing_ = 0;  // shards that are not closed yet
  Mutex mutex_;
  std::vector<Opened> opened_ SLUICE_GUARDED_BY(mutex_);  // has room for all that may be
  std::size_t checks_left_ SLUICE_GUARDED_BY(mutex_) = 0;
  std::exception_ptr check_error_ SLUICE_GUARDED_BY(mutex_);
  TaskGroup tasks_;  // last: its tasks use all of the above
};

}  // namespace sluice
