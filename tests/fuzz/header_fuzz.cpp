// Fuzz target: any bytes as a shard, and as an index. Neither crashes, and what is accepted keeps the format's
// promises. The first byte chooses; the rest is the file. Built with libFuzzer where the compiler is clang; elsewhere
// replay.cpp runs the files in tests/data/hostile/ through it.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>

#include "loader/format/json.hpp"
#include "loader/format/safetensors_header.hpp"
#include "loader/format/safetensors_index.hpp"
#include "sluice/error.hpp"

namespace {

/// A broken promise must stop the fuzzer, with assertions or without.
void promise(bool holds) {
  if (!holds) __builtin_trap();
}

void read_shard(const std::uint8_t* data, std::size_t bytes) {
  static sluice::HeaderParser parser;
  static const std::filesystem::path path = "fuzzed.safetensors";
  std::copy_n(reinterpret_cast<const char*>(data), bytes, parser.room(bytes));
  const std::uint64_t data_offset = parser.data_offset(bytes, path);
  const sluice::ShardHeader header = parser.parse(data_offset, bytes, path);
  std::uint64_t end = data_offset;
  for (const sluice::TensorInfo& tensor : header.tensors) {
    promise(tensor.offset == end);
    end += tensor.bytes;
    promise(tensor.name.empty() || tensor.name.data() + tensor.name.size() <= header.names.get() + bytes);
    std::uint64_t total_bits = sluice::bits(tensor.dtype);
    for (const std::uint64_t dimension : tensor.shape) total_bits *= dimension;
    promise(total_bits == tensor.bytes * 8);
  }
  promise(end == bytes);
}

void read_index(const std::uint8_t* data, std::size_t bytes) {
  auto text = std::make_unique<sluice::Json>();
  std::copy_n(reinterpret_cast<const char*>(data), bytes, text->room(bytes));
  const sluice::SafetensorsIndex index =
      sluice::parse_index(std::move(text), bytes, "fuzzed.safetensors.index.json", [](const std::string&) {});
  for (const auto& file : index.files) {
    promise(!file.empty() && file.front() != '/' && !file.starts_with("../") && file.find("/../") == std::string::npos);
  }
  for (const auto& entry : index.entries) promise(entry.file < index.files.size() && entry.offset < bytes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  if (bytes == 0) return 0;
  try {
    (data[0] == 'i' ? read_index : read_shard)(data + 1, bytes - 1);
  } catch (const sluice::Error& error) {
    promise(std::string_view(error.what()).find('\n') == std::string_view::npos);
    promise(!error.offset() || *error.offset() <= bytes || error.code() == sluice::ErrorCode::limit_exceeded);
  }
  return 0;
}
