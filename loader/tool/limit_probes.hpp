// What this machine can do at most: storage, page cache and fresh memory, each tried by itself on a bounded sample, in
// the ways that loads use them. Whatever ends too soon to be timed is repeated. Main thread only; nothing is left
// behind.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "loader/read/reader.hpp"
#include "loader/tool/cache_state.hpp"
#include "sluice/options.hpp"

namespace sluice::tool {

/// How storage is asked: so many requests of that length at a time.
struct StorageSetting {
  std::uint64_t request_bytes = 0;
  unsigned depth = 0;
};

/// None is the best everywhere: some disks want many requests, some large ones, and memory that was used a moment ago
/// is faster than more of it.
inline constexpr std::array<StorageSetting, 6> storage_settings = {
    {{256 << 10, 32}, {512 << 10, 8}, {1 << 20, 8}, {1 << 20, 16}, {4 << 20, 4}, {4 << 20, 16}}};

/// What one measurement reads or touches at most.
inline constexpr std::uint64_t sample_bytes_max = 1ull << 30;

class StorageProbe {
 public:
  /// Reads as `options` say who reads. Goes on from call to call where it left off, so that one setting does not find
  /// what the one before it has left in caches below the page cache.
  StorageProbe(const std::vector<CachedFile>& files, const Options& options, Interruption check);

  /// Bytes a second, with O_DIRECT where the file system takes it, else through the page cache, which must be cold.
  /// Throws Error{io, reader_unavailable, out_of_memory}.
  double measure(const StorageSetting& setting);

  bool is_direct() const noexcept { return direct_; }
  ReaderKind reader() const noexcept { return reader_; }

 private:
  Read next_read(std::uint64_t request_bytes, std::uint32_t file);

  std::vector<CachedFile> files_;  // those that are read: some of the checkpoint's, from all over it
  Options options_;
  Interruption check_;
  std::uint64_t bytes_ = 0;
  bool direct_ = true;
  ReaderKind reader_ = ReaderKind::automatic;
  std::size_t next_file_ = 0;
  std::uint64_t next_offset_ = 0;
};

/// The best of three tries, in bytes a second, at which `threads` copy cached bytes of the files: into fresh huge
/// pages, or each into one slab of its own. REQUIRES: they are cached. Throws Error{io, out_of_memory}.
double measure_page_cache(const std::vector<CachedFile>& files, unsigned threads, bool into_fresh_memory,
                          const Interruption& check);

/// Likewise at which `threads` make fresh huge pages present. Throws Error{out_of_memory}.
double measure_fresh_memory(unsigned threads, const Interruption& check);

/// Touches as much memory, as far as it can be had, and lets go of it: a virtual machine takes seconds to get memory
/// back that it has not used for a while, which else whoever runs first would pay for.
void touch_memory(std::uint64_t bytes, unsigned threads, const Interruption& check);

}  // namespace sluice::tool
