// HeaderParser: the bytes of one shard's header -> its tensors, validated. Every header is hostile until it has been
// through here. Checkpoint::open has one parser per thread and reuses it from shard to shard. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sluice/checkpoint.hpp"

namespace sluice {

/// What one header says. Tensors come in order of offset and know no shard yet; two may still bear the same name.
struct ShardHeader {
  std::vector<TensorInfo> tensors;
  std::vector<std::pair<std::string, std::string>> metadata;  // in order of names
  // What the views in `tensors` point into.
  std::unique_ptr<char[]> names;
  std::unique_ptr<std::uint64_t[]> shapes;
};

class HeaderParser {
 public:
  HeaderParser();
  ~HeaderParser();
  HeaderParser(const HeaderParser&) = delete;
  HeaderParser& operator=(const HeaderParser&) = delete;

  /// Room for the first `bytes` of a shard; its first `kept` bytes stay as they were. Valid until the next call.
  char* room(std::size_t bytes, std::size_t kept = 0);

  /// Where tensor data begin, by the first 8 bytes in room() (fewer where the file is shorter): what must be in room()
  /// for parse(). Throws Error{bad_header} where a file of `file_bytes` cannot hold that.
  std::uint64_t data_offset(std::uint64_t file_bytes, const std::filesystem::path& path) const;

  /// Parses the first `data_offset` bytes in room(), the header of a shard of `file_bytes`. Throws Error{bad_header,
  /// limit_exceeded}, with `path`, byte and tensor.
  ShardHeader parse(std::uint64_t data_offset, std::uint64_t file_bytes, const std::filesystem::path& path);

 private:
  struct Scratch;
  std::unique_ptr<Scratch> scratch_;
};

}  // namespace sluice
