// ShardFiles: the shards of one load as open files, in whatever order their extents are read. A shard is opened when
// one of its extents needs it and closed after its last. Each time that it is opened it is held to what its header was
// validated by (loader/base/file_identity.hpp); where that does not tell, its header is read again. After each extent
// it is held to its size and time of writing, so that no tensor is published of whose bytes some were written later.
// Only so many are open at a time as leave the process most of its descriptors; beyond that, one of which no extent is
// in flight is closed, to be opened again. Threads: the engine's only. Errors: Error{io, not_found, file_changed}.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "loader/base/regular_file.hpp"
#include "loader/plan/plan.hpp"
#include "loader/read/reader.hpp"

namespace sluice {

class ShardFiles {
 public:
  /// All arguments outlive it. Reasons why a shard cannot be read directly are appended to `fallbacks`, each once.
  ShardFiles(const PlanData& plan, Reader& reader, IoMode io, std::vector<Fallback>& fallbacks);
  /// REQUIRES: nothing is in flight. Closes everything.
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
    std::uint32_t extents_left = 0;
    std::uint32_t in_flight = 0;  // extents that were begun and are not done
  };

  /// The shard, opened if it is not; stays open until the next call, and while an extent of it is in flight. nullptr:
  /// as many are open as may be, and of each an extent is in flight; call again once one of those is done.
  File* open(std::uint32_t shard);
  /// REQUIRES: open(shard) has just returned it. An extent of the shard is in flight from now until done_with_extent().
  void begin_extent(std::uint32_t shard) noexcept;
  /// REQUIRES: begin_extent(shard). The extent has been read: checks that the shard has not changed meanwhile; after
  /// its last one, closes it.
  void done_with_extent(std::uint32_t shard);
  /// O_DIRECT turned out to be refused when reading: from now on the shard is read buffered.
  void refuse_direct(std::uint32_t shard, int error);
  /// The reader ends before this does: files are closed without telling it.
  void leave_reader() noexcept;
  /// Throws Error{file_changed} with the place where a read of the shard ended early.
  [[noreturn]] void throw_ended_early(std::uint32_t shard, std::uint64_t offset) const;

 private:
  OpenedFile open_with_what_is_left(std::uint32_t shard);
  void open_direct(std::uint32_t shard);
  bool close_an_idle_one() noexcept;
  void close(std::uint32_t shard) noexcept;
  void check_opened(std::uint32_t shard, const struct stat& status) const;
  void check_unwritten(std::uint32_t shard) const;
  [[noreturn]] void throw_changed(std::uint32_t shard, std::uint64_t bytes, const char* how) const;
  void tell_direct_refused(std::uint32_t shard, const std::string& reason);

  const PlanData& plan_;
  Reader& reader_;
  const IoMode io_;
  const std::size_t open_most_;
  std::vector<Fallback>& fallbacks_;
  std::vector<File> files_;          // by shard
  std::vector<std::uint32_t> open_;  // shards, in the order in which they were opened
  bool told_direct_refused_ = false;
};

}  // namespace sluice
