#include "loader/read/choose_path.hpp"

namespace sluice {
namespace {

// An extent of which at least three quarters are cached is copied out of the page cache, which fetches the rest:
// storage is some four times slower than memory.
bool mostly(std::uint64_t part, std::uint64_t whole) {
  return part >= whole - whole / 4;
}

}  // namespace

ReadPath choose_path(const Extent& extent, const ShardFiles::File& file, IoMode io, PageCache& page_cache) noexcept {
  const bool direct = file.takes_direct && extent.aligned;
  if (direct && io == IoMode::direct) return ReadPath::direct;
  const auto cached = page_cache.cached_bytes(file.descriptor, extent.offset, extent.bytes);
  if (cached && mostly(*cached, extent.bytes)) return ReadPath::cached;
  return direct ? ReadPath::direct : ReadPath::buffered;
}

}  // namespace sluice
