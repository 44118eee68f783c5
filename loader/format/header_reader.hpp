// HeaderReader: reads and validates the headers of shards side by side, while the list of shards still grows: an index
// names them one after the other, and takes as long to read as they do. Checkpoint::open adds them and takes what they
// hold. One thread calls; the others are its own.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <filesystem>
#include <mutex>
#include <thread>
#include <vector>

#include "loader/format/safetensors_header.hpp"
#include "sluice/checkpoint.hpp"

namespace sluice {

struct ReadShard {
  Shard shard;
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
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;  // a job stays where it is while others are added
  std::size_t next_ = 0;
  bool complete_ = false;  // no more will be added
};

}  // namespace sluice
