// The safetensors format, as its reference implementation reads it. A shard is
//   8 bytes     the header's length n, little-endian
//   n bytes     the header: one JSON object, name -> {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__"
//   the rest    tensor data; offsets count from its first byte; tensors lie back to back and fill it exactly
// Sources: safetensors/src/tensor.rs at release 0.8.0, and the crates that it parses with.
#pragma once

#include <cstdint>
#include <string_view>

namespace sluice::safetensors {

// `N_LEN`: the little-endian u64 that a shard begins with.
inline constexpr std::uint64_t length_bytes = 8;

// `HashMetadata`: the one key of the header that is no tensor. Its value is null or an object of strings.
inline constexpr std::string_view metadata_key = "__metadata__";

// `TensorInfo`: the keys of a tensor, in this order where it is written as an array. Other keys are passed over.
inline constexpr std::string_view dtype_key = "dtype";
inline constexpr std::string_view shape_key = "shape";
inline constexpr std::string_view offsets_key = "data_offsets";

// Objects and arrays that may lie in each other, the header itself counted: serde_json starts with a `remaining_depth`
// of 128 and refuses when it reaches 0.
inline constexpr unsigned nesting_max = 127;

// File names, by the convention of the Hugging Face Hub.
inline constexpr std::string_view shard_suffix = ".safetensors";
inline constexpr std::string_view short_shard_suffix = ".sft";  // by custom of some tools; no folder is made of these
inline constexpr std::string_view index_suffix = ".safetensors.index.json";
inline constexpr std::string_view index_name = "model.safetensors.index.json";

// The key of an index that matters: tensor name -> file name. "metadata" with "total_size" is not relied upon.
inline constexpr std::string_view weight_map_key = "weight_map";

}  // namespace sluice::safetensors
