#include "sluice/checkpoint.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <exception>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "loader/catalogue.hpp"
#include "loader/foreign_format.hpp"
#include "loader/json.hpp"
#include "loader/limits.hpp"
#include "loader/safetensors_format.hpp"
#include "loader/safetensors_header.hpp"
#include "loader/safetensors_index.hpp"
#include "loader/stopwatch.hpp"
#include "loader/thread.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

namespace fs = std::filesystem;

// Read in one go before anything is known of a file: most headers fit.
constexpr std::uint64_t first_read_bytes = 64 * 1024;

/// A regular file, open for reading. Never blocks on what only looks like one.
class InputFile {
 public:
  /// Throws Error{not_found, io}; `what` says what should be there: "shard", "index".
  InputFile(const fs::path& path, const char* what) : path_(path) {
    // Looked at before it is opened, since to open a device may act on it, and again once it is open, since only then
    // is it sure to stay what it is.
    if (stat(path.c_str(), &status_) != 0) refuse_to_open(what, errno);
    if (!S_ISREG(status_.st_mode)) refuse_kind(what);
    descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (descriptor_ < 0) refuse_to_open(what, errno);
    if (fstat(descriptor_, &status_) == 0 && S_ISREG(status_.st_mode)) return;
    close(descriptor_);
    refuse_kind(what);
  }
  ~InputFile() { close(descriptor_); }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  int descriptor() const noexcept { return descriptor_; }
  const struct stat& status() const noexcept { return status_; }
  std::uint64_t bytes() const noexcept { return static_cast<std::uint64_t>(status_.st_size); }

  /// Reads [offset, offset + bytes) whole. Throws Error{io, file_changed}.
  void read(char* target, std::uint64_t offset, std::uint64_t bytes) const {
    for (std::uint64_t got = 0; got < bytes;) {
      const ssize_t now = pread(descriptor_, target + got, bytes - got, static_cast<off_t>(offset + got));
      if (now > 0) {
        got += static_cast<std::uint64_t>(now);
      } else if (now == 0) {
        throw Error(ErrorCode::file_changed, "the file became shorter while it was read",
                    {path_.string(), offset + got, {}}, "open it again once nothing writes to it any more");
      } else if (errno != EINTR) {
        throw Error(ErrorCode::io, fmt::format("reading failed: {}", std::strerror(errno)),
                    {path_.string(), offset + got, {}}, "check the disk or file system (dmesg tells more)");
      }
    }
  }

 private:
  [[noreturn]] void refuse_to_open(const char* what, int error) const {
    std::error_code ignored;
    const bool is_link = fs::is_symlink(path_, ignored);
    const bool dangles = error == ENOENT && is_link;
    throw Error(error == ENOENT ? ErrorCode::not_found : ErrorCode::io,
                dangles ? fmt::format("the {} is a symbolic link to nothing: {} does not exist", what,
                                      fs::read_symlink(path_, ignored).string())
                        : fmt::format("the {} cannot be opened: {}", what, std::strerror(error)),
                {path_.string(), {}, {}},
                dangles                              ? "download the checkpoint again"
                : error == EMFILE || error == ENFILE ? "raise the limit of open descriptors (ulimit -n)"
                : error == EACCES || error == EPERM  ? "allow this user to read it"
                                                     : "check the path");
  }

  [[noreturn]] void refuse_kind(const char* what) const {
    const mode_t mode = status_.st_mode;
    const char* const kind = S_ISDIR(mode)    ? "a folder"
                             : S_ISFIFO(mode) ? "a named pipe"
                             : S_ISSOCK(mode) ? "a socket"
                                              : "a device";
    throw Error(ErrorCode::io, fmt::format("{} lies where the {} should be", kind, what), {path_.string(), {}, {}},
                "give a regular file: sluice reads at offsets");
  }

  fs::path path_;
  int descriptor_ = -1;
  struct stat status_ {};
};

/// What the file is, if not safetensors.
std::optional<ForeignFormat> recognise(const InputFile& file, const fs::path& path) {
  const std::uint64_t bytes = std::min(file.bytes(), first_read_bytes);
  std::string head(bytes, '\0');
  std::string tail(bytes, '\0');
  file.read(head.data(), 0, bytes);
  file.read(tail.data(), file.bytes() - bytes, bytes);
  if (const auto foreign = foreign_format_of_content(head, tail)) return foreign;
  return foreign_format_of_name(path.filename().string());
}

/// include/uapi/linux/stat.h, Linux 6.1: STATX_DIOALIGN, newer than Debian 12's C library. The kernel's struct has 256
/// bytes.
void ask_for_direct_alignment(const InputFile& file, Shard& shard) {
  constexpr unsigned dioalign = 0x2000;
  constexpr std::size_t mask_at = 0;
  constexpr std::size_t memory_at = 0x98;
  constexpr std::size_t offset_at = 0x9c;
  std::array<unsigned char, 256> answer{};
  if (syscall(SYS_statx, file.descriptor(), "", AT_EMPTY_PATH, dioalign, answer.data()) != 0) return;
  std::uint32_t mask = 0;
  std::memcpy(&mask, answer.data() + mask_at, sizeof mask);
  if ((mask & dioalign) == 0) return;
  std::memcpy(&shard.direct_memory_alignment, answer.data() + memory_at, sizeof(std::uint32_t));
  std::memcpy(&shard.direct_offset_alignment, answer.data() + offset_at, sizeof(std::uint32_t));
}

/// Reads and validates the header of `shard.path`, and fills in what else is known of the file.
ShardHeader read_shard(HeaderParser& parser, Shard& shard, std::uint32_t number) {
  const InputFile file(shard.path, "shard");
  shard.bytes = file.bytes();
  shard.device = file.status().st_dev;
  shard.inode = file.status().st_ino;
  shard.modified_ns = file.status().st_mtim.tv_sec * 1'000'000'000 + file.status().st_mtim.tv_nsec;
  ask_for_direct_alignment(file, shard);
  try {
    const std::uint64_t first = std::min(shard.bytes, first_read_bytes);
    file.read(parser.room(first), 0, first);
    shard.data_offset = parser.data_offset(shard.bytes, shard.path);
    if (shard.data_offset > first) {
      file.read(parser.room(shard.data_offset, first) + first, first, shard.data_offset - first);
    }
    ShardHeader header = parser.parse(shard.data_offset, shard.bytes, shard.path, number);
    shard.metadata = std::move(header.metadata);
    return header;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::bad_header) throw;
    const auto foreign = recognise(file, shard.path);
    if (!foreign) throw;
    throw Error(ErrorCode::unsupported_format, fmt::format("this is {}, not safetensors", foreign->what),
                {shard.path.string(), {}, {}}, std::string(foreign->way_out));
  }
}

/// As many as open() may take at a time and leave the rest of the process its own.
unsigned descriptors_spare() noexcept {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
  return static_cast<unsigned>(std::clamp<rlim_t>(limit.rlim_cur / 4, 1, limits::threads_max));
}

/// Reads all headers, on up to `threads` threads, each with one file open at a time. Of several errors that of the
/// first shard is thrown, whichever thread was faster.
std::vector<ShardHeader> read_shards(std::vector<Shard>& shards, unsigned threads) {
  std::vector<ShardHeader> headers(shards.size());
  std::vector<std::exception_ptr> errors(shards.size());
  std::atomic<std::size_t> next = 0;
  std::atomic<bool> failed = false;
  const auto work = [&] {
    HeaderParser parser;
    // A shard that is claimed is read: otherwise an earlier one than the first that failed could be passed over.
    while (!failed) {
      const std::size_t i = next++;
      if (i >= shards.size()) return;
      try {
        headers[i] = read_shard(parser, shards[i], static_cast<std::uint32_t>(i));
      } catch (...) {
        errors[i] = std::current_exception();
        failed = true;
      }
    }
  };
  std::vector<std::thread> others;
  try {
    while (others.size() + 1 < std::min<std::size_t>(std::min(threads, descriptors_spare()), shards.size())) {
      others.push_back(start_thread("sluice-open", work));
    }
  } catch (const Error&) {
    // The calling thread does what the others cannot.
  }
  work();
  for (std::thread& other : others) other.join();
  for (const std::exception_ptr& error : errors) {
    if (error != nullptr) std::rethrow_exception(error);
  }
  return headers;
}

/// Counts paths that lead to one file as one shard, the first. Returns the shard of each path.
std::vector<std::uint32_t> merge_same_files(std::vector<Shard>& shards, std::vector<ShardHeader>& headers) {
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint32_t> seen;
  std::vector<std::uint32_t> shard_of_path;
  std::uint32_t kept = 0;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const auto [found, is_new] = seen.try_emplace({shards[i].device, shards[i].inode}, kept);
    shard_of_path.push_back(found->second);
    if (!is_new) continue;
    if (kept != i) {
      shards[kept] = std::move(shards[i]);
      headers[kept] = std::move(headers[i]);
      for (TensorInfo& tensor : headers[kept].tensors) tensor.shard = kept;
    }
    ++kept;
  }
  shards.resize(kept);
  headers.resize(kept);
  return shard_of_path;
}

/// Moves the headers' tensors into one catalogue.
void gather(Catalogue& catalogue, std::vector<ShardHeader> headers) {
  std::size_t count = 0;
  for (const ShardHeader& header : headers) count += header.tensors.size();
  if (count > limits::tensors_max) {
    throw Error(
        ErrorCode::limit_exceeded,
        fmt::format("{} tensors are more than {} (tensors_max in loader/limits.hpp)", count, limits::tensors_max),
        {catalogue.path.string(), {}, {}});
  }
  catalogue.tensors.reserve(count);
  for (ShardHeader& header : headers) {
    catalogue.tensors.insert(catalogue.tensors.end(), header.tensors.begin(), header.tensors.end());
    catalogue.names.push_back(std::move(header.names));
    catalogue.shapes.push_back(std::move(header.shapes));
    std::vector<TensorInfo>().swap(header.tensors);
  }
}

/// Makes the index of names anew. Returns the second of two tensors that share a name, or nullptr.
const TensorInfo* enter_names(Catalogue& catalogue) {
  catalogue.by_name.clear();
  catalogue.by_name.reserve(catalogue.tensors.size());
  std::uint32_t number = 0;
  for (const TensorInfo& tensor : catalogue.tensors) {
    if (!catalogue.by_name.try_emplace(tensor.name, number++).second) return &tensor;
  }
  return nullptr;
}

/// Where several shards hold a tensor and the index says which one counts, leaves the other copies out.
void leave_out_copies(Catalogue& catalogue, const SafetensorsIndex& index,
                      const std::vector<std::uint32_t>& shard_of_file) {
  tsl::robin_map<std::string_view, std::uint32_t> chosen;
  chosen.reserve(index.entries.size());
  for (const auto& entry : index.entries) chosen.try_emplace(entry.tensor, shard_of_file[entry.file]);
  std::erase_if(catalogue.tensors, [&](const TensorInfo& tensor) {
    const auto found = chosen.find(tensor.name);
    return found != chosen.end() && found->second != tensor.shard;
  });
}

[[noreturn]] void refuse_name(const Catalogue& catalogue, const TensorInfo& tensor) {
  const TensorInfo& other = catalogue.tensors[catalogue.by_name.at(tensor.name)];
  const bool one_shard = other.shard == tensor.shard;
  throw Error(ErrorCode::bad_header,
              one_shard ? std::string("two tensors share a name")
                        : fmt::format("the shard holds a tensor that {} holds too",
                                      catalogue.shards[other.shard].path.filename().string()),
              {catalogue.shards[tensor.shard].path.string(), tensor.offset, std::string(tensor.name)},
              one_shard ? "write the file again, each tensor under a name of its own"
                        : "name one shard, or an index, instead of a folder that holds more than one checkpoint");
}

SafetensorsIndex read_index(const fs::path& path) {
  const InputFile file(path, "index");
  if (file.bytes() > limits::index_bytes_max) {
    throw Error(ErrorCode::limit_exceeded,
                fmt::format("an index of {} bytes is longer than {} (index_bytes_max in loader/limits.hpp)",
                            file.bytes(), limits::index_bytes_max),
                {path.string(), {}, {}});
  }
  auto text = std::make_unique<Json>();
  file.read(text->room(file.bytes()), 0, file.bytes());
  return parse_index(std::move(text), file.bytes(), path);
}

/// Every tensor is where the index says.
void check_index(const SafetensorsIndex& index, const std::vector<std::uint32_t>& shard_of_file,
                 const Catalogue& catalogue) {
  for (const SafetensorsIndex::Entry& entry : index.entries) {
    const auto found = catalogue.by_name.find(entry.tensor);
    if (found != catalogue.by_name.end() && catalogue.tensors[found->second].shard == shard_of_file[entry.file])
      continue;
    throw Error(ErrorCode::bad_index,
                fmt::format("the index says that {} holds the tensor, which it does not", index.files[entry.file]),
                {index.path.string(), entry.offset, std::string(entry.tensor)},
                "index and shards do not belong together: download both again");
  }
}

/// Called where a shard was not found: says which and how many.
void refuse_missing_shards(const SafetensorsIndex& index, const std::vector<fs::path>& shards) {
  std::error_code ignored;
  std::size_t count = 0;
  std::size_t first = 0;
  for (std::size_t i = shards.size(); i-- > 0;) {
    if (fs::exists(shards[i], ignored)) continue;
    ++count;
    first = i;
  }
  if (count == 0) return;  // it has come since
  const auto entry = std::ranges::find(index.entries, first, &SafetensorsIndex::Entry::file);
  throw Error(ErrorCode::bad_index,
              fmt::format("{} of the {} shards that the index names {} missing, {}{}", count, shards.size(),
                          count == 1 ? "is" : "are", count == 1 ? "" : "the first is ", index.files[first]),
              {index.path.string(), entry->offset, std::string(entry->tensor)},
              "the download is not complete: finish it, or remove the index to open the shards that are there");
}

struct Contents {
  std::vector<fs::path> shards;
  std::optional<SafetensorsIndex> index;
};

Contents contents_of_index(const fs::path& path) {
  Contents contents;
  contents.index = read_index(path);
  for (const std::string& file : contents.index->files) contents.shards.push_back(path.parent_path() / file);
  return contents;
}

/// The index that decides what belongs to a folder's checkpoint, if it has one.
std::optional<fs::path> choose_index(const fs::path& folder, const std::vector<fs::path>& indexes) {
  if (indexes.empty()) return std::nullopt;
  if (indexes.size() == 1) return indexes.front();
  const fs::path usual = folder / safetensors::index_name;
  if (std::ranges::find(indexes, usual) != indexes.end()) return usual;
  std::string names;
  for (const fs::path& index : indexes) names += (names.empty() ? "" : ", ") + index.filename().string();
  throw Error(ErrorCode::bad_index, "the folder has several indexes: " + names, {folder.string(), {}, {}},
              "name one of them instead of the folder");
}

[[noreturn]] void refuse_folder(const fs::path& folder, const std::vector<fs::path>& others) {
  for (const fs::path& other : others) {
    if (const auto foreign = foreign_format_of_name(other.filename().string())) {
      throw Error(ErrorCode::unsupported_format,
                  fmt::format("the folder has no *.safetensors; {} is {}", other.filename().string(), foreign->what),
                  {folder.string(), {}, {}}, std::string(foreign->way_out));
    }
  }
  std::error_code ignored;
  const bool is_hub_cache = fs::is_directory(folder / "snapshots", ignored);
  throw Error(ErrorCode::not_found, others.empty() ? "the folder is empty" : "the folder has no *.safetensors",
              {folder.string(), {}, {}},
              is_hub_cache ? "name one of the folders under its snapshots/"
                           : "name the folder that holds the shards, or a shard");
}

Contents contents_of_folder(const fs::path& folder) {
  Contents contents;
  std::vector<fs::path> indexes;
  std::vector<fs::path> others;
  std::error_code error;
  fs::directory_iterator at(folder, error);
  for (; !error && at != fs::directory_iterator(); at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.starts_with('.')) continue;
    if (name.ends_with(safetensors::index_suffix)) {
      indexes.push_back(at->path());
    } else if (name.ends_with(safetensors::shard_suffix)) {
      contents.shards.push_back(at->path());
    } else {
      others.push_back(at->path());
    }
  }
  if (error) {
    throw Error(ErrorCode::io, fmt::format("the folder cannot be listed: {}", error.message()),
                {folder.string(), {}, {}}, "allow this user to read it");
  }
  for (auto* paths : {&indexes, &contents.shards, &others}) std::ranges::sort(*paths);
  if (const auto index = choose_index(folder, indexes)) return contents_of_index(*index);
  if (contents.shards.empty()) refuse_folder(folder, others);
  if (contents.shards.size() > limits::shards_max) {
    throw Error(ErrorCode::limit_exceeded,
                fmt::format("{} shards are more than {} (shards_max in loader/limits.hpp)", contents.shards.size(),
                            limits::shards_max),
                {folder.string(), {}, {}});
  }
  return contents;
}

Contents contents_of(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return contents_of_folder(path);
  if (path.filename().string().ends_with(safetensors::index_suffix)) return contents_of_index(path);
  return {{path}, std::nullopt};
}

}  // namespace

Checkpoint Checkpoint::open(const std::filesystem::path& path, unsigned threads) {
  const Stopwatch stopwatch;
  if (path.empty())
    throw Error(ErrorCode::invalid_argument, "the path is empty", {}, "name a shard, a folder or an index");

  auto catalogue = std::make_shared<Catalogue>();
  catalogue->path = path;
  const Contents contents = contents_of(path);
  for (const fs::path& shard : contents.shards) catalogue->shards.emplace_back().path = shard;
  const unsigned all = std::max(1u, std::thread::hardware_concurrency());
  std::vector<ShardHeader> headers;
  try {
    headers = read_shards(catalogue->shards, threads == 0 ? all : threads);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::not_found && contents.index) refuse_missing_shards(*contents.index, contents.shards);
    throw;
  }
  const auto shard_of_path = merge_same_files(catalogue->shards, headers);
  gather(*catalogue, std::move(headers));
  const TensorInfo* twice = enter_names(*catalogue);
  if (twice != nullptr && contents.index) {
    leave_out_copies(*catalogue, *contents.index, shard_of_path);
    twice = enter_names(*catalogue);
  }
  if (twice != nullptr) refuse_name(*catalogue, *twice);
  if (contents.index) check_index(*contents.index, shard_of_path, *catalogue);
  for (const TensorInfo& tensor : catalogue->tensors) catalogue->bytes += tensor.bytes;

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
  const auto found = catalogue_->by_name.find(name);
  return found == catalogue_->by_name.end() ? nullptr : &catalogue_->tensors[found->second];
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
