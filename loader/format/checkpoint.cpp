#include "sluice/checkpoint.hpp"

#include <fmt/format.h>
#include <tsl/robin_map.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "loader/base/limits.hpp"
#include "loader/base/stopwatch.hpp"
#include "loader/base/thread.hpp"
#include "loader/base/tracer.hpp"
#include "loader/format/catalogue.hpp"
#include "loader/format/header_reader.hpp"
#include "loader/format/safetensors_index.hpp"
#include "loader/format/shard_search.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

namespace fs = std::filesystem;

// Entries of an index that are checked in one go by one thread: some 100 microseconds.
constexpr std::size_t entries_per_part = 8192;

/// Counts paths that lead to one file as one shard, the first: symbolic links end at one path, and hard links agree in
/// all that is known of the file. Returns the shard of each path.
std::vector<std::uint32_t> merge_same_files(std::vector<ReadShard>& shards) {
  std::map<std::uint64_t, std::size_t> paths_by_header;
  for (const ReadShard& path : shards) ++paths_by_header[path.identity.header_digest];
  std::map<fs::path, std::uint32_t> by_end;
  std::map<ShardIdentity, std::uint32_t> by_identity;
  std::vector<std::uint32_t> shard_of_path;
  std::uint32_t kept = 0;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const ReadShard& path = shards[i];
    std::uint32_t shard = kept;
    // What has a header of its own is a file of its own: hardly any path is ever followed.
    if (paths_by_header[path.identity.header_digest] > 1) {
      std::error_code error;
      const fs::path end = fs::canonical(path.shard.path, error);
      std::uint32_t& of_end = by_end.try_emplace(error ? path.shard.path : end, shard).first->second;
      shard = of_end;
      if (path.identity.file.links > 1) {
        std::uint32_t& of_identity = by_identity.try_emplace(path.identity, shard).first->second;
        shard = of_end = of_identity = std::min(of_end, of_identity);
      }
    }
    shard_of_path.push_back(shard);
    if (shard != kept) continue;
    if (kept != i) shards[kept] = std::move(shards[i]);
    ++kept;
  }
  shards.resize(kept);
  return shard_of_path;
}

// Moves the shards and their tensors into one catalogue. Returns the hashes of the tensors' names.
BigVector<std::uint64_t> gather(Catalogue& catalogue, std::vector<ReadShard> shards, unsigned threads) {
  std::vector<std::size_t> begins;
  std::size_t count = 0;
  for (const ReadShard& shard : shards) {
    begins.push_back(count);
    count += shard.header.tensors.size();
  }
  if (count > limits::tensors_max) {
    throw Error(
        ErrorCode::limit_exceeded,
        fmt::format("{} tensors are more than {} (tensors_max in sluice/limits.hpp)", count, limits::tensors_max),
        {catalogue.path.string(), {}, {}});
  }
  catalogue.tensors.resize(count);
  BigVector<std::uint64_t> hashes(count);
  std::atomic<std::uint64_t> bytes = 0;
  share_out(threads, shards.size(), [&](std::size_t number) {
    std::uint64_t shard_bytes = 0;
    TensorInfo* target = catalogue.tensors.data() + begins[number];
    for (const TensorInfo& tensor : shards[number].header.tensors) {
      *target = tensor;
      (target++)->shard = static_cast<std::uint32_t>(number);
      shard_bytes += tensor.bytes;
    }
    std::ranges::copy(shards[number].hashes, hashes.data() + begins[number]);
    bytes += shard_bytes;
  });
  catalogue.bytes = bytes;
  for (ReadShard& shard : shards) {
    catalogue.shards.push_back(std::move(shard.shard));
    catalogue.identities.push_back(shard.identity);
    catalogue.names.push_back(std::move(shard.header.names));
    catalogue.shapes.push_back(std::move(shard.header.shapes));
  }
  return hashes;
}

// Where several shards hold a tensor and the index says which one counts, leaves the other copies out.
void leave_out_copies(Catalogue& catalogue, const SafetensorsIndex& index,
                      const std::vector<std::uint32_t>& shard_of_file) {
  tsl::robin_map<std::string_view, std::uint32_t> chosen;
  chosen.reserve(index.entries.size());
  for (const auto& entry : index.entries) chosen.try_emplace(entry.tensor, shard_of_file[entry.file]);
  std::erase_if(catalogue.tensors, [&](const TensorInfo& tensor) {
    const auto found = chosen.find(tensor.name);
    const bool is_copy = found != chosen.end() && found->second != tensor.shard;
    if (is_copy) catalogue.bytes -= tensor.bytes;
    return is_copy;
  });
}

[[noreturn]] void refuse_name(const Catalogue& catalogue, const TensorInfo& tensor) {
  const TensorInfo& other = catalogue.tensors[catalogue.find(tensor.name).value_or(0)];
  const bool one_shard = other.shard == tensor.shard;
  throw Error(ErrorCode::bad_header,
              one_shard ? std::string("two tensors share a name")
                        : fmt::format("the shard holds a tensor that {} holds too",
                                      catalogue.shards[other.shard].path.filename().string()),
              {catalogue.shards[tensor.shard].path.string(), tensor.offset, std::string(tensor.name)},
              one_shard ? "write the file again, each tensor under a name of its own"
                        : "name one shard, or an index, instead of a folder that holds more than one checkpoint");
}

// The first of entries [begin, end) whose tensor is not where it says, or `end`.
std::size_t find_misplaced(const SafetensorsIndex& index, const std::vector<std::uint32_t>& shard_of_file,
                           const Catalogue& catalogue, std::size_t begin, std::size_t end) {
  std::array<std::uint64_t, 16> hashes{};  // so many slots of the table are fetched at a time
  for (; begin < end; begin += hashes.size()) {
    const std::size_t count = std::min(hashes.size(), end - begin);
    for (std::size_t i = 0; i < count; ++i) {
      hashes[i] = NameTable::hash(index.entries[begin + i].tensor);
      catalogue.by_name.prefetch(hashes[i]);
    }
    for (std::size_t i = 0; i < count; ++i) {
      const SafetensorsIndex::Entry& entry = index.entries[begin + i];
      const auto found = catalogue.by_name.find(catalogue.tensors, entry.tensor, hashes[i]);
      if (!found || catalogue.tensors[*found].shard != shard_of_file[entry.file]) return begin + i;
    }
  }
  return end;
}

// The entry is not true of the shards, or not alone.
[[noreturn]] void refuse_entry(const SafetensorsIndex& index, const std::vector<std::uint32_t>& shard_of_file,
                               const SafetensorsIndex::Entry& entry) {
  const std::string& file = index.files[entry.file];
  const auto other = std::ranges::find_if(index.entries, [&](const SafetensorsIndex::Entry& each) {
    return each.tensor == entry.tensor && shard_of_file[each.file] != shard_of_file[entry.file];
  });
  throw Error(ErrorCode::bad_index,
              other == index.entries.end()
                  ? fmt::format("the index says that {} holds the tensor, which it does not", file)
                  : fmt::format("the index names the tensor twice, in {} and in {}", index.files[other->file], file),
              {index.path.string(), entry.offset, std::string(entry.tensor)},
              "index and shards do not belong together: download both again, or move the index away to open the shards "
              "without it");
}

// Every tensor is where the index says. Of several that are not, the first in the index is told.
void check_index(const SafetensorsIndex& index, const std::vector<std::uint32_t>& shard_of_file,
                 const Catalogue& catalogue, unsigned threads) {
  const std::size_t count = index.entries.size();
  std::vector<std::size_t> misplaced((count + entries_per_part - 1) / entries_per_part, count);
  share_out(threads, misplaced.size(), [&](std::size_t part) {
    const std::size_t end = std::min(count, (part + 1) * entries_per_part);
    const std::size_t found = find_misplaced(index, shard_of_file, catalogue, part * entries_per_part, end);
    if (found != end) misplaced[part] = found;
  });
  const std::size_t first = std::ranges::min(misplaced);
  if (first == count) return;
  refuse_entry(index, shard_of_file, index.entries[first]);
}

}  // namespace

Checkpoint Checkpoint::open(const std::filesystem::path& path, unsigned threads) {
  const Stopwatch stopwatch;
  const Tracer::Range range({.what = Span::What::open});
  if (path.empty())
    throw Error(ErrorCode::invalid_argument, "the path is empty", {}, "name a shard, a folder or an index");

  threads = std::min(threads == 0 ? processor_count() : threads, limits::threads_max);
  auto catalogue = std::make_shared<Catalogue>();
  catalogue->path = path;
  HeaderReader reader(threads);
  const std::optional<SafetensorsIndex> index =
      find_shards(path, [&](fs::path shard) { reader.add(std::move(shard)); });
  std::vector<ReadShard> shards;
  try {
    shards = reader.finish();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::not_found && index) refuse_missing_shards(*index);
    throw;
  }
  const std::vector<std::uint32_t> shard_of_path = merge_same_files(shards);
  const BigVector<std::uint64_t> hashes = gather(*catalogue, std::move(shards), threads);
  auto twice = catalogue->by_name.enter(catalogue->tensors, hashes);
  if (twice && index) {
    leave_out_copies(*catalogue, *index, shard_of_path);
    twice = catalogue->by_name.enter(catalogue->tensors);
  }
  if (twice) refuse_name(*catalogue, catalogue->tensors[*twice]);
  if (index) check_index(*index, shard_of_path, *catalogue, threads);

  catalogue->open_begin_ns = stopwatch.begin_ns();
  catalogue->open_seconds = stopwatch.seconds();
  catalogue->open_cpu_seconds = stopwatch.cpu_seconds();
  return Checkpoint(std::move(catalogue));
}

Checkpoint::Checkpoint(std::shared_ptr<const Catalogue> catalogue) noexcept : catalogue_(std::move(catalogue)) {}

std::span<const TensorInfo> Checkpoint::tensors() const noexcept {
  return catalogue_->tensors;
}
std::span<const Shard> Checkpoint::shards() const noexcept {
  return catalogue_->shards;
}

const TensorInfo* Checkpoint::find(std::string_view name) const noexcept {
  const auto found = catalogue_->find(name);
  return found ? &catalogue_->tensors[*found] : nullptr;
}

const std::filesystem::path& Checkpoint::path() const noexcept {
  return catalogue_->path;
}
std::uint64_t Checkpoint::bytes() const noexcept {
  return catalogue_->bytes;
}
double Checkpoint::open_seconds() const noexcept {
  return catalogue_->open_seconds;
}
double Checkpoint::open_cpu_seconds() const noexcept {
  return catalogue_->open_cpu_seconds;
}

}  // namespace sluice
