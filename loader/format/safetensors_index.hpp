// The index of a checkpoint in several shards, `*.safetensors.index.json`: tensor name -> shard. Only what says where
// tensors are is relied upon; "metadata" and its "total_size" are validated as JSON, as Python writes it, and not
// believed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "loader/base/big_vector.hpp"
#include "loader/format/json.hpp"

namespace sluice {

struct SafetensorsIndex {
  struct Entry {
    std::string_view tensor;
    std::uint32_t file = 0;    // index into `files`
    std::uint64_t offset = 0;  // of the tensor's name, in the index
  };

  std::filesystem::path path;
  std::vector<std::string> files;  // relative to the index's folder, normalised, sorted, each once
  BigVector<Entry> entries;        // as they come; a tensor may occur twice
  std::unique_ptr<Json> text;      // what the names point into
};

/// Whether a file of this name is meant as an index: NAME.safetensors.index.json, or with a variant between the last
/// two words, NAME.safetensors.index.fp16.json.
bool is_index_name(std::string_view file_name) noexcept;

/// Parses the first `bytes` bytes of `text`'s room. Every file lies inside the folder of the index, as far as names
/// tell. Throws Error{bad_index, limit_exceeded}, with path, byte and tensor.
/// `found` is called with each file as soon as it is named, in the order of the index.
SafetensorsIndex parse_index(std::unique_ptr<Json> text, std::size_t bytes, const std::filesystem::path& path,
                             const std::function<void(const std::string&)>& found);

}  // namespace sluice
