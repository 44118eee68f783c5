// CacheState: makes a checkpoint cold or warm and proves it by what the kernel says of its page cache. Main thread
// only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "loader/read/page_cache.hpp"
#include "loader/tool/descriptor.hpp"

namespace sluice::tool {

/// A file of the checkpoint, and how much of it a load reads.
struct CachedFile {
  std::filesystem::path path;
  std::uint64_t bytes = 0;       // of the file
  std::uint64_t read_bytes = 0;  // from its beginning: all of it, or only its header
};

/// Called every now and then by what takes long; what it throws ends the work.
using Interruption = std::function<void()>;

/// Opens a shard. Throws Error{io}.
Descriptor open_shard(const std::filesystem::path& path);

class CacheState {
 public:
  CacheState(std::vector<CachedFile> files, unsigned threads, Interruption check);

  /// What became of a try.
  struct Outcome {
    std::uint64_t cached_bytes = 0;  // of all files, now
    std::string refusal;             // why the cache is not as it was asked to be; empty: it is
  };
  /// Writes back and drops what is cached of the files, up to some ten times. What is left of less than a hundredth of
  /// them is told and accepted.
  Outcome make_cold();
  /// Reads what is not cached, up to some times. `beside`: bytes that the process to be measured takes besides.
  Outcome make_warm(std::uint64_t beside);
  /// How much is cached, without doing anything.
  std::uint64_t cached_bytes();

  /// In which lesser way the kernel was asked; empty where it tells exactly and at once.
  const std::string& caveat() const noexcept { return page_cache_.refusal(); }

  std::uint64_t bytes() const noexcept { return bytes_; }
  std::uint64_t read_bytes() const noexcept { return read_bytes_; }

 private:
  struct Seen {
    std::uint64_t cached_bytes = 0;  // of all bytes
    std::uint64_t warm_bytes = 0;    // of those that a load reads
    std::string refusal;             // why that cannot be known
  };
  Seen look();
  /// Of the file's first `bytes`; nothing where the kernel does not tell.
  std::optional<std::uint64_t> cached_bytes_of(int descriptor, std::uint64_t bytes);

  const std::vector<CachedFile> files_;
  const unsigned threads_;
  const Interruption check_;
  std::uint64_t bytes_ = 0;
  std::uint64_t read_bytes_ = 0;
  PageCache page_cache_;
};

}  // namespace sluice::tool
