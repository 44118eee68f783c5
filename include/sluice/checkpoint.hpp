// Checkpoint: all shards of a model and one catalogue of their tensors: name -> shard, dtype, shape, byte range.
// Immutable once open and cheap to copy (copies share one catalogue); safe to use from any number of threads. It holds
// no open files. A Plan or a Load that is made from it keeps the catalogue alive by itself.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sluice/dtype.hpp"
#include "sluice/export.hpp"

namespace sluice {

/// One tensor as it lies in its shard. Views point into the catalogue and live as long as any Checkpoint, Plan or Load
/// of it.
struct TensorInfo {
  std::string_view name;
  std::span<const std::uint64_t> shape;  // row-major, outermost first; empty for a scalar
  std::uint64_t offset = 0;              // bytes from the beginning of the shard
  std::uint64_t bytes = 0;
  std::uint32_t shard = 0;  // index into Checkpoint::shards()
  Dtype dtype = Dtype::u8;
};

/// One `.safetensors` file as it was when its header was read. A load checks that it still is that file.
struct Shard {
  std::filesystem::path path;
  std::uint64_t bytes = 0;                    // size of the file
  std::uint64_t data_offset = 0;              // where tensor data begin: 8 + the header's length
  std::uint32_t direct_memory_alignment = 0;  // what statx says that O_DIRECT needs; 0 where it does not say
  std::uint32_t direct_offset_alignment = 0;
  std::vector<std::pair<std::string, std::string>> metadata;  // the header's "__metadata__", sorted by name
};

struct Access;
struct Catalogue;

class SLUICE_API Checkpoint {
 public:
  /// Opens `path`: a shard, a folder of shards, a `*.safetensors.index.json`, or a snapshot folder of the Hugging Face
  /// cache. In a folder, an index decides which shards belong to it; without one, all `*.safetensors` do. Reads and
  /// validates every header, on up to `threads` threads (0: as many as there are processors), and no tensor data.
  /// Accepts and refuses what the reference implementation (safetensors 0.8.0) does, but also refuses duplicate names
  /// and what passes the limits of sluice/limits.hpp. Throws Error{not_found, io, bad_header, bad_index,
  /// unsupported_format, limit_exceeded}.
  static Checkpoint open(const std::filesystem::path& path, unsigned threads = 0);

  /// Sorted by shard, then by offset.
  std::span<const TensorInfo> tensors() const noexcept;
  std::span<const Shard> shards() const noexcept;

  /// The tensor of that name, or nullptr. O(1).
  const TensorInfo* find(std::string_view name) const noexcept;

  /// The path that open() was given.
  const std::filesystem::path& path() const noexcept;

  /// Bytes of all tensors together.
  std::uint64_t bytes() const noexcept;

  /// Wall-clock and processor (user + system, whole process) seconds that open() took.
  double open_seconds() const noexcept;
  double open_cpu_seconds() const noexcept;

 private:
  friend struct Access;
  explicit Checkpoint(std::shared_ptr<const Catalogue> catalogue) noexcept;
  std::shared_ptr<const Catalogue> catalogue_;
};

}  // namespace sluice
