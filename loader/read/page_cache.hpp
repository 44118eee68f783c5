// PageCache: how much of a file's range lies in the page cache. cachestat(2) tells; where it is not known, mincore(2)
// does. Both tell of a file only to who owns it or may write it; of others' files a sample is read that does not wait
// for storage. Keeps only what the kernel refused; one thread at a time.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>

namespace sluice {

class PageCache {
 public:
  /// Bytes of [offset, offset + bytes) of the open file that are cached, in whole pages; of a sample, at least how many
  /// are likely to be. Nothing where the kernel tells in no way.
  std::optional<std::uint64_t> cached_bytes(int descriptor, std::uint64_t offset, std::uint64_t bytes) noexcept;

  /// Of some file so far, only a sample told.
  bool samples() const noexcept { return told_of_sample_; }
  /// Why cachestat did not tell, and what is done instead; empty while it does.
  const std::string& refusal() const noexcept { return refusal_; }

 private:
  std::optional<std::uint64_t> by_cachestat(int descriptor, std::uint64_t offset, std::uint64_t bytes);
  std::optional<std::uint64_t> by_mincore(int descriptor, std::uint64_t offset, std::uint64_t bytes);
  std::optional<std::uint64_t> by_sample(int descriptor, std::uint64_t offset, std::uint64_t bytes);
  bool lies_over_another(int descriptor);

  bool knows_cachestat_ = true;
  std::string refusal_;
  std::optional<bool> allowed_on_own_file_;  // whether cachestat is; asked once it was refused on another
  // Whether pages lie in the cache of another file, of which cachestat tells nothing; by file system.
  std::map<dev_t, bool> lies_over_another_{};
  std::optional<std::minstd_rand> random_;  // made when it is needed
  bool told_of_sample_ = false;
};

}  // namespace sluice
