// choose_path(): past the page cache, or through it, decided for each read. Threads: the engine's only.
#pragma once

#include "loader/read/page_cache.hpp"
#include "loader/read/reader.hpp"
#include "loader/read/shard_files.hpp"

namespace sluice {

/// How to read `extent` of an open shard: direct wherever that is asked for and possible; else out of the page cache
/// what lies there for the most part; else direct, or buffered where direct reads are refused.
ReadPath choose_path(const Extent& extent, const ShardFiles::File& file, IoMode io, PageCache& page_cache) noexcept;

}  // namespace sluice
