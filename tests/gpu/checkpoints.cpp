#include "tests/gpu/checkpoints.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>

namespace sluice::gpu_check {

namespace {

constexpr std::uint64_t shards = 4;
constexpr std::uint64_t block_bytes = 4 << 20;

std::string tensor_name(std::uint64_t index) {
  return fmt::format("model.layers.{}.mlp.experts.{}.down_proj.weight", index / 64, index % 64);
}

// Random bits, quickly: as good as any for bytes that are only moved and cast.
class Noise {
 public:
  void fill(std::vector<char>& memory) {
    for (std::size_t at = 0; at + 8 <= memory.size(); at += 8) {
      state_ += 0x9e3779b97f4a7c15u;
      const std::uint64_t mixed = (state_ ^ (state_ >> 29)) * 0xbf58476d1ce4e5b9u;
      const std::uint64_t bits = mixed ^ (mixed >> 32);
      std::memcpy(&memory[at], &bits, 8);
    }
  }

 private:
  std::uint64_t state_ = 1;
};

void write_shard(const std::filesystem::path& path, const CheckpointShape& shape, std::uint64_t first,
                 std::uint64_t end, Noise& noise) {
  constexpr std::uint64_t row = 64;
  std::string header = "{";
  for (std::uint64_t i = first; i < end; ++i) {
    const std::uint64_t begin = (i - first) * shape.tensor_bytes;
    header += fmt::format("{}\"{}\":{{\"dtype\":\"{}\",\"shape\":[{},{}],\"data_offsets\":[{},{}]}}",
                          i == first ? "" : ",", tensor_name(i), shape.dtype,
                          shape.tensor_bytes / shape.element_bytes / row, row, begin, begin + shape.tensor_bytes);
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const std::uint64_t header_bytes = header.size();

  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(&header_bytes), 8);
  file.write(header.data(), static_cast<std::streamsize>(header_bytes));
  for (std::uint64_t left = (end - first) * shape.tensor_bytes; left != 0 && file;) {
    std::vector<char> block(std::min(left, block_bytes));
    noise.fill(block);
    file.write(block.data(), static_cast<std::streamsize>(block.size()));
    left -= block.size();
  }
  file.close();
  if (!file) throw std::runtime_error(fmt::format("{} cannot be written: is the disk full?", path.string()));
}

}  // namespace

std::vector<std::filesystem::path> make_checkpoint(const std::filesystem::path& folder, const CheckpointShape& shape) {
  std::filesystem::create_directories(folder);
  std::vector<std::filesystem::path> files;
  std::string index;
  Noise noise;
  for (std::uint64_t shard = 0; shard < shards; ++shard) {
    const std::uint64_t first = shape.tensors * shard / shards;
    const std::uint64_t end = shape.tensors * (shard + 1) / shards;
    files.push_back(folder / fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, shards));
    write_shard(files.back(), shape, first, end, noise);
    for (std::uint64_t i = first; i < end; ++i) {
      index +=
          fmt::format("{}\"{}\":\"{}\"", index.empty() ? "" : ",", tensor_name(i), files.back().filename().string());
    }
  }
  std::ofstream(folder / "model.safetensors.index.json") << "{\"weight_map\":{" << index << "}}\n";
  return files;
}

}  // namespace sluice::gpu_check
