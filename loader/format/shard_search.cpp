#include "loader/format/shard_search.hpp"

#include <dirent.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "loader/base/limits.hpp"
#include "loader/format/foreign_format.hpp"
#include "loader/format/input_file.hpp"
#include "loader/format/json.hpp"
#include "loader/format/safetensors_format.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

namespace fs = std::filesystem;
using Found = std::function<void(fs::path)>;

// What tells the formats of files apart lies so close to their ends.
constexpr std::uint64_t looked_at_bytes = 64 * 1024;

// Missing shards that a message names.
constexpr std::size_t named_missing_max = 8;

// Whether a file is JSON text, whatever its name.
bool holds_json(const fs::path& path) {
  const InputFile file(path, "shard");
  std::string head(std::min(file.bytes(), looked_at_bytes), '\0');
  file.read(head.data(), 0, head.size());
  return begins_as_json(head);
}

SafetensorsIndex read_index(const fs::path& path, const Found& found) {
  const InputFile file(path, "index");
  const std::uint64_t bytes = file.bytes();
  if (bytes > limits::index_bytes_max) {
    throw Error(ErrorCode::limit_exceeded,
                fmt::format("an index of {} bytes is longer than {} (index_bytes_max in sluice/limits.hpp)", bytes,
                            limits::index_bytes_max),
                {path.string(), {}, {}});
  }
  if (bytes == 0) throw Error(ErrorCode::bad_index, "the index is empty", {path.string(), 0, {}}, "download it again");
  auto text = std::make_unique<Json>();
  char* const content = text->room(bytes);
  file.read(content, 0, bytes);
  const std::span<const char> head(content, std::min(bytes, looked_at_bytes));
  const std::span<const char> tail(content + bytes - head.size(), head.size());
  if (const auto foreign = foreign_format_of_content(head, tail); foreign && !begins_as_json(head)) {
    throw Error(ErrorCode::unsupported_format, fmt::format("this is {}, not the index of a checkpoint", foreign->what),
                {path.string(), {}, {}}, std::string(foreign->way_out));
  }
  return parse_index(std::move(text), bytes, path, [&](const std::string& name) { found(path.parent_path() / name); });
}

// The names in a folder, without hidden ones. Not by directory_iterator: that of libstdc++ ends the process where
// there is no memory for a name.
std::vector<std::string> names_in(const fs::path& folder, std::error_code& error) {
  struct Close {
    void operator()(DIR* directory) const noexcept { closedir(directory); }
  };
  std::vector<std::string> names;
  errno = 0;
  const std::unique_ptr<DIR, Close> directory(opendir(folder.c_str()));
  while (const dirent* const entry = directory == nullptr ? nullptr : readdir(directory.get())) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
    errno = 0;
  }
  error.assign(errno, std::generic_category());
  return names;
}

// The visible files of a folder, each kind in order of names.
struct Listing {
  std::vector<fs::path> shards;
  std::vector<fs::path> indexes;
  std::vector<fs::path> others;
};

Listing list(const fs::path& folder) {
  Listing listing;
  std::error_code error;
  for (const std::string& name : names_in(folder, error)) {
    auto& kind = name.ends_with(safetensors::index_suffix)   ? listing.indexes
                 : name.ends_with(safetensors::shard_suffix) ? listing.shards
                                                             : listing.others;
    kind.push_back(folder / name);
  }
  if (error) {
    throw Error(ErrorCode::io, fmt::format("the folder cannot be listed: {}", error.message()),
                {folder.string(), {}, {}},
                error == std::errc::too_many_files_open || error == std::errc::too_many_files_open_in_system
                    ? "raise the limit of open descriptors (ulimit -n)"
                    : "allow this user to read it");
  }
  for (auto* paths : {&listing.shards, &listing.indexes, &listing.others}) std::ranges::sort(*paths);
  return listing;
}

// The index that decides what belongs to a folder's checkpoint, if it has one.
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

// What to name instead of a folder of the Hugging Face cache in which nothing bears its own name; else nothing.
std::string snapshots_hint(fs::path folder) {
  std::error_code ignored;
  if (fs::is_directory(folder / "snapshots", ignored)) return "name one of the folders under its snapshots/";
  if (!folder.has_filename()) folder = folder.parent_path();
  if (folder.filename() != "blobs" || !fs::is_directory(folder.parent_path() / "snapshots", ignored)) return {};
  return "files have their names in the folders under snapshots/ beside blobs/: name one of those";
}

[[noreturn]] void refuse_folder(const fs::path& folder, const std::vector<fs::path>& others) {
  const Error::Where where{folder.string(), {}, {}};
  for (const fs::path& other : others) {
    const std::string name = other.filename().string();
    if (const auto foreign = foreign_format_of_name(name)) {
      throw Error(ErrorCode::unsupported_format,
                  fmt::format("the folder has no *.safetensors; {} is {}", name, foreign->what), where,
                  std::string(foreign->way_out));
    }
    if (name.ends_with(safetensors::short_shard_suffix)) {
      throw Error(ErrorCode::not_found, fmt::format("the folder has no *.safetensors, but {}", name), where,
                  "name that file instead of the folder: a file that is named is opened whatever its ending");
    }
  }
  std::string hint = snapshots_hint(folder);
  if (hint.empty()) hint = "name the folder that holds the shards, or a shard";
  throw Error(ErrorCode::not_found, others.empty() ? "the folder is empty" : "the folder has no *.safetensors", where,
              std::move(hint));
}

// What `model-00002-of-00003.safetensors` says: the second of three, the others named alike but for their number.
struct NumberedName {
  std::string_view before;  // "model-"
  std::string_view number;  // "00002"
  std::string_view behind;  // "-of-00003.safetensors"
  std::uint64_t value = 0;  // 2
  std::uint64_t count = 0;  // 3
};

std::optional<NumberedName> parse_numbered_name(std::string_view name) {
  constexpr std::string_view digits = "0123456789";
  constexpr std::string_view of = "-of-";
  const std::size_t at = name.rfind(of);
  if (at == std::string_view::npos) return std::nullopt;
  const std::size_t begin = name.substr(0, at).find_last_not_of(digits) + 1;  // npos + 1 is 0
  if (begin > 0 && std::string_view("-_.").find(name[begin - 1]) == std::string_view::npos) return std::nullopt;
  NumberedName numbered{name.substr(0, begin), name.substr(begin, at - begin), name.substr(at)};
  const auto parse = [](std::string_view text, std::uint64_t& value) {
    return std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc();
  };
  if (!parse(numbered.number, numbered.value) || !parse(numbered.behind.substr(of.size()), numbered.count)) {
    return std::nullopt;
  }
  return numbered;
}

// Refuses a folder in which some of the shards are missing that the names of the others count.
void refuse_gaps(const fs::path& folder, const std::vector<fs::path>& shards) {
  std::map<std::pair<std::string, std::string>, std::map<std::uint64_t, NumberedName>> numberings;
  std::vector<std::string> names;  // what the views point into
  names.reserve(shards.size());
  for (const fs::path& shard : shards) {
    const auto numbered = parse_numbered_name(names.emplace_back(shard.filename().string()));
    if (!numbered || numbered->count > limits::shards_max) continue;
    numberings[{std::string(numbered->before), std::string(numbered->behind)}].emplace(numbered->value, *numbered);
  }
  for (const auto& [name, numbers] : numberings) {
    const NumberedName& any = numbers.begin()->second;
    const std::uint64_t first = numbers.contains(0) ? 0 : 1;
    std::size_t missing = 0;
    std::string missing_names;
    for (std::uint64_t value = first; value < first + any.count; ++value) {
      if (numbers.contains(value) || ++missing > named_missing_max) continue;
      missing_names +=
          fmt::format("{}{}{:0{}}{}", missing == 1 ? "" : ", ", any.before, value, any.number.size(), any.behind);
    }
    if (missing == 0) continue;
    if (missing > named_missing_max) missing_names += ", ...";
    throw Error(ErrorCode::not_found,
                fmt::format("{} of the {} shards that their names count {} missing: {}", missing, any.count,
                            missing == 1 ? "is" : "are", missing_names),
                {folder.string(), {}, {}},
                "the download is not complete: finish it; or name a shard to open what it holds");
  }
}

std::optional<SafetensorsIndex> find_shards_in_folder(const fs::path& folder, const Found& found) {
  Listing listing = list(folder);
  if (const auto index = choose_index(folder, listing.indexes)) return read_index(*index, found);
  if (listing.shards.empty()) refuse_folder(folder, listing.others);
  if (listing.shards.size() > limits::shards_max) {
    throw Error(ErrorCode::limit_exceeded,
                fmt::format("{} shards are more than {} (shards_max in sluice/limits.hpp)", listing.shards.size(),
                            limits::shards_max),
                {folder.string(), {}, {}});
  }
  refuse_gaps(folder, listing.shards);
  for (fs::path& shard : listing.shards) found(std::move(shard));
  return std::nullopt;
}

// The visible *.safetensors of a folder, or 0 where it cannot be listed.
std::size_t count_shards(const fs::path& folder) {
  try {
    return list(folder.empty() ? "." : folder).shards.size();
  } catch (const Error&) {
    return 0;
  }
}

}  // namespace

std::optional<SafetensorsIndex> find_shards(const fs::path& path, const Found& found) {
  std::error_code error;
  if (fs::is_directory(path, error)) return find_shards_in_folder(path, found);
  const std::string name = path.filename().string();
  if (is_index_name(name)) return read_index(path, found);
  // Caches name files by their hashes, so that content tells a shard from an index.
  if (!name.ends_with(safetensors::shard_suffix) && holds_json(path)) {
    const auto foreign = foreign_format_of_name(name);
    if (!foreign || !name.ends_with(".json")) return read_index(path, found);
    throw Error(ErrorCode::unsupported_format, fmt::format("this is {}, not of safetensors shards", foreign->what),
                {path.string(), {}, {}}, std::string(foreign->way_out));
  }
  found(path);
  return std::nullopt;
}

void refuse_missing_shards(const SafetensorsIndex& index) {
  const fs::path folder = index.path.parent_path();
  std::error_code ignored;
  std::size_t missing = 0;
  std::size_t first = 0;
  for (std::size_t i = index.files.size(); i-- > 0;) {
    if (fs::exists(folder / index.files[i], ignored)) continue;
    ++missing;
    first = i;
  }
  if (missing == 0) return;  // it has come since
  const auto entry = std::ranges::find(index.entries, first, &SafetensorsIndex::Entry::file);
  const Error::Where where{index.path.string(), entry->offset, std::string(entry->tensor)};
  if (const auto foreign = foreign_format_of_name(index.files[first])) {
    throw Error(
        ErrorCode::unsupported_format,
        fmt::format("the index names {}, which is missing and by its name is {}", index.files[first], foreign->what),
        where, std::string(foreign->way_out));
  }
  std::string message =
      fmt::format("{} of the {} shards that the index names {} missing, {}{}", missing, index.files.size(),
                  missing == 1 ? "is" : "are", missing == 1 ? "" : "the first is ", index.files[first]);
  std::string hint =
      "the download is not complete: finish it, or move the index away to open the shards that are there";
  if (missing == index.files.size()) {
    if (const std::size_t others = count_shards(folder); others > 0) {
      message =
          fmt::format("none of the {} shards that the index names is there, the first is {}, but {} of other names",
                      missing, index.files[first], others);
      hint =
          "the index is of another sharding: download the one that belongs to the shards, or move it away to open them "
          "without";
    } else if (std::string snapshots = snapshots_hint(folder); !snapshots.empty()) {
      hint = std::move(snapshots);
    }
  }
  throw Error(ErrorCode::bad_index, std::move(message), where, std::move(hint));
}

}  // namespace sluice
