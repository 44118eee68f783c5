// PageCache: how much of a file's range lies in the page cache: cachestat(2), else mincore(2).
// Stateless but for what the kernel refused; the engine thread's only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace sluice {

class PageCache {
 public:
  /// Bytes of [offset, offset + bytes) of the open file that are cached, in whole pages; nothing where neither call is
  /// allowed on it.
  std::optional<std::uint64_t> cached_bytes(int descriptor, std::uint64_t offset, std::uint64_t bytes) noexcept;

  /// Why cachestat is not used; empty while it is.
  const std::string& refusal() const noexcept { return refusal_; }

 private:
  std::string refusal_;
};

}  // namespace sluice
