// HeaderReader: reads and validates the headers of shards side by side, while the list of shards still grows: an index
// names them one after the other, and takes as long to read as they do. Checkpoint::open adds them and takes what they
// hold. One thread calls; the others are its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <filesystem>
#include <string_view>
#include <thread>
#include <vector>

#include "loader/base/mutex.hpp"
#include "loader/format/catalogue.hpp"
#include "loader/format/safetensors_header.hpp"
#include "sluice/checkpoint.hpp"

namespace sluice {

/// Of the first bytes of a shard, up to where tensor data begin. Keyed with a secret of this process: no two headers
/// can be written so that theirs are equal, and another process's cannot be compared.
std::uint64_t header_digest(std::string_view header) noexcept;

/// Reads the header of the shard that is open as `descriptor` again. Throws Error{io, file_changed}.
std::uint64_t read_header_digest(int descriptor, const Shard& shard);

struct ReadShard {
  Shard shard;
  ShardIdentity identity;
  ShardHeader header;
  std::vector<std::uint64_t> hashes;  // NameTable's, of the header's names
};

class HeaderReader {
 public:
  /// On up to `threads` threads, that of the caller among them, each with one file open at a time.
  explicit HeaderReader(unsigned threads);
  /// Reads nothing more that was added.
  ~HeaderReader();
  HeaderReader(const HeaderReader&) = delete;
  HeaderReader& operator=(const HeaderReader&) = delete;

  void add(std::filesystem::path path);

  /// All shards, in order of their paths. Every one is read, also behind one that is refused: of several errors that of
  /// the first is thrown, whichever thread was faster. Called once.
  std::vector<ReadShard> finish();

 private:
  struct Job {
    ReadShard result;
    std::exception_ptr error;
  };

  void start_one_more();
  void work() noexcept;
  void join() noexcept;

  const unsigned threads_max_;
  std::vector<std::thread> others_;
  bool refused_ = false;  // a thread: no more are tried
  Mutex mutex_;
  Condition changed_;
  std::deque<Job> jobs_ SLUICE_GUARDED_BY(mutex_);  // a job stays where it is while others are added
  std::size_t next_ SLUICE_GUARDED_BY(mutex_) = 0;
  bool complete_ SLUICE_GUARDED_BY(mutex_) = false;  // no more will be added
};

}  // namespace sluice
