// Catalogue: what Checkpoint shares: shards, tensors, and the index of names. Immutable once built.
#pragma once

#include <tsl/robin_map.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

#include "sluice/checkpoint.hpp"

namespace sluice {

struct Catalogue {
  std::filesystem::path path;  // as given to Checkpoint::open
  std::vector<Shard> shards;
  std::vector<TensorInfo> tensors;  // in order of shard, then of offset
  tsl::robin_map<std::string_view, std::uint32_t> by_name;
  std::uint64_t bytes = 0;
  double open_seconds = 0;
  double open_cpu_seconds = 0;

  // What the views in `tensors` point into: one block of characters and one of extents a shard.
  std::vector<std::unique_ptr<char[]>> names;
  std::vector<std::unique_ptr<std::uint64_t[]>> shapes;
};

}  // namespace sluice
