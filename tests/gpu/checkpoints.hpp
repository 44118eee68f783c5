// make_checkpoint(): a checkpoint of random bits, in four shards with an index.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

namespace sluice::gpu_check {

struct CheckpointShape {
  std::string_view dtype;  // as safetensors spells it
  std::uint64_t element_bytes = 2;
  std::uint64_t tensors = 0;       // all alike
  std::uint64_t tensor_bytes = 0;  // a multiple of 128
};

/// The shards. Throws std::runtime_error where they cannot be written.
std::vector<std::filesystem::path> make_checkpoint(const std::filesystem::path& folder, const CheckpointShape& shape);

}  // namespace sluice::gpu_check
