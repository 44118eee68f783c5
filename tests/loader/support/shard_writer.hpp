// Writes safetensors shards for tests: tensors back to back in the order given, their bytes noise that depends on the
// name.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "sluice/dtype.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice {

struct TestTensor {
  std::string name;
  Dtype dtype = Dtype::u8;
  std::vector<std::uint64_t> shape;
  std::uint64_t version = 0;  // the same tensor of another checkpoint holds other bytes

  std::uint64_t bytes() const {
    std::uint64_t count = bits(dtype);
    for (const std::uint64_t dimension : shape) count *= dimension;
    return count / 8;
  }
  std::vector<std::byte> content() const { return noise(bytes(), std::hash<std::string>{}(name) + version); }
};

/// `odd`: so many spaces behind the header, which decide how tensor data are aligned.
inline std::filesystem::path write_shard(const TemporaryFolder& folder, const std::string& file,
                                         const std::vector<TestTensor>& tensors, unsigned odd = 0) {
  std::string header = "{";
  std::uint64_t offset = 0;
  for (const TestTensor& tensor : tensors) {
    if (header.size() > 1) header += ',';
    header += '"' + tensor.name + "\":{\"dtype\":\"" + std::string(name(tensor.dtype)) + "\",\"shape\":[";
    for (std::size_t i = 0; i < tensor.shape.size(); ++i) header += (i ? "," : "") + std::to_string(tensor.shape[i]);
    header += "],\"data_offsets\":[" + std::to_string(offset) + ',' + std::to_string(offset + tensor.bytes()) + "]}";
    offset += tensor.bytes();
  }
  header += '}' + std::string(odd, ' ');
  std::vector<std::byte> content(8 + header.size());
  const std::uint64_t length = header.size();
  std::memcpy(content.data(), &length, sizeof length);
  std::memcpy(content.data() + 8, header.data(), header.size());
  for (const TestTensor& tensor : tensors) {
    const std::vector<std::byte> bytes = tensor.content();
    content.insert(content.end(), bytes.begin(), bytes.end());
  }
  return folder.write(file, content);
}

}  // namespace sluice
