// Catalogue: what Checkpoint shares: shards, tensors, and the index of names. Immutable once built.
#pragma once

#include <compare>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "loader/base/big_vector.hpp"
#include "loader/base/file_identity.hpp"
#include "loader/format/name_table.hpp"
#include "sluice/checkpoint.hpp"

namespace sluice {

/// By what a load recognises a shard whose header was validated.
struct ShardIdentity {
  FileIdentity file;
  std::uint64_t header_digest = 0;  // what header_digest() gives, in header_reader.hpp

  friend auto operator<=>(const ShardIdentity&, const ShardIdentity&) = default;
};

struct Catalogue {
  std::filesystem::path path;  // as given to Checkpoint::open
  std::vector<Shard> shards;
  std::vector<ShardIdentity> identities;  // by shard
  BigVector<TensorInfo> tensors;          // in order of shard, then of offset
  NameTable by_name;
  std::uint64_t bytes = 0;
  std::int64_t open_begin_ns = 0;  // of the steady clock
  double open_seconds = 0;
  double open_cpu_seconds = 0;

  // What the views in `tensors` point into: one block of characters and one of extents per shard.
  std::vector<std::unique_ptr<char[]>> names;
  std::vector<std::unique_ptr<std::uint64_t[]>> shapes;

  /// The number of the tensor of that name.
  std::optional<std::uint32_t> find(std::string_view name) const noexcept { return by_name.find(tensors, name); }
};

}  // namespace sluice
