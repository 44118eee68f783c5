// Shard search: which files a path means: the path's own, those of a folder, or those that an index names. The first
// step of Checkpoint::open, which reads each shard as soon as it is found.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>

#include "loader/format/safetensors_index.hpp"

namespace sluice {

/// Calls `found` with the path of each shard that `path` means, in any order. Returns the index, if one names them.
/// Throws Error{not_found, io, bad_index, unsupported_format, limit_exceeded}.
std::optional<SafetensorsIndex> find_shards(const std::filesystem::path& path,
                                            const std::function<void(std::filesystem::path)>& found);

/// To be called where a shard that the index names could not be found. Throws an Error that says how many are missing
/// and what that means; returns where none is missing any more.
void refuse_missing_shards(const SafetensorsIndex& index);

}  // namespace sluice
