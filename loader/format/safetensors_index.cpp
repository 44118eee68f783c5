#include "loader/format/safetensors_index.hpp"

#include <fmt/format.h>
#include <tsl/robin_map.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "loader/base/limits.hpp"
#include "loader/format/safetensors_format.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

constexpr Json::Kind index_kind{ErrorCode::bad_index, "the index is damaged or is none: download it again",
                                /*python_constants=*/true};

// The file in a folder that `name` means, in its shortest spelling, or nothing where it may lie outside of the folder.
std::optional<std::string> inside_folder(std::string_view name) {
  if (name.empty() || name.front() == '/' || name.find('\0') != std::string_view::npos) return std::nullopt;
  const std::filesystem::path path(name);
  if (std::ranges::find(path, "..") != path.end()) return std::nullopt;
  const std::string normal = path.lexically_normal().string();
  if (normal == "." || normal.back() == '/') return std::nullopt;  // a folder
  return normal;
}

// Sorts the files by name, so that shards are numbered alike whatever order the index names them in.
void sort_files(SafetensorsIndex& index) {
  std::vector<std::uint32_t> order(index.files.size());
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::sort(order, {}, [&](std::uint32_t i) -> const std::string& { return index.files[i]; });
  std::vector<std::string> sorted;
  std::vector<std::uint32_t> place(order.size());
  for (const std::uint32_t i : order) {
    place[i] = static_cast<std::uint32_t>(sorted.size());
    sorted.push_back(std::move(index.files[i]));
  }
  index.files = std::move(sorted);
  for (auto& entry : index.entries) entry.file = place[entry.file];
}

[[noreturn]] void refuse_limit(std::string message, std::string_view limit, const std::filesystem::path& path,
                               std::size_t offset, std::string_view tensor) {
  throw Error(ErrorCode::limit_exceeded, fmt::format("{} ({} in sluice/limits.hpp)", message, limit),
              {path.string(), offset, std::string(tensor)});
}

// The files that an index names, numbered in the order in which they come, whatever their spelling.
class FileNames {
 public:
  FileNames(SafetensorsIndex& index, const std::function<void(const std::string&)>& found) noexcept
      : index_(index), found_(found) {}

  // The number of the file that the entry at `offset` spells so.
  std::uint32_t number_of(std::string_view spelling, std::size_t offset, std::string_view tensor) {
    // Neighbours mostly lie in the same file, spelled the same.
    if (!index_.files.empty() && spelling == last_spelling_) return last_number_;
    const auto name = inside_folder(spelling);
    if (!name) {
      index_.text->fail(
          fmt::format("the index names \"{}\", which is no file inside its folder", spelling.substr(0, 256)), offset,
          tensor, "an index may name only files beside it; download the checkpoint again from a source you trust");
    }
    const auto [number, is_new] = numbers_.try_emplace(*name, static_cast<std::uint32_t>(index_.files.size()));
    if (is_new) {
      if (index_.files.size() == limits::shards_max) {
        refuse_limit(fmt::format("the index names more than {} shards", limits::shards_max), "shards_max", index_.path,
                     offset, tensor);
      }
      index_.files.push_back(*name);
      found_(*name);
    }
    last_spelling_ = spelling;
    last_number_ = number->second;
    return last_number_;
  }

 private:
  SafetensorsIndex& index_;
  const std::function<void(const std::string&)>& found_;
  tsl::robin_map<std::string, std::uint32_t> numbers_;
  std::string_view last_spelling_;
  std::uint32_t last_number_ = 0;
};

void read_weight_map(Json::Object weight_map, SafetensorsIndex& index, FileNames& files) {
  Json& json = *index.text;
  for (auto result : weight_map) {
    auto entry = json.take(std::move(result));
    const std::size_t offset = json.offset_of(entry.key());
    const std::string_view tensor = json.key_of(entry);
    if (index.entries.size() == limits::tensors_max) {
      refuse_limit(fmt::format("the index names more than {} tensors", limits::tensors_max), "tensors_max", index.path,
                   offset, tensor);
    }
    std::string_view file;
    if (json.string_of(entry.value()).get(file)) json.fail("the index names no file for a tensor", offset, tensor);
    index.entries.push_back({tensor, files.number_of(file, offset, tensor), offset});
  }
}

}  // namespace

bool is_index_name(std::string_view file_name) noexcept {
  // NAME.safetensors.index.json, or NAME.safetensors.index.VARIANT.json
  constexpr std::string_view ending = safetensors::index_suffix;
  constexpr std::string_view json = ".json";
  static_assert(ending.ends_with(json));
  constexpr std::string_view stem = ending.substr(0, ending.size() - json.size());
  if (!file_name.ends_with(json)) return false;
  const std::size_t at = file_name.rfind(stem);
  if (at == std::string_view::npos) return false;
  const std::string_view rest = file_name.substr(at + stem.size());
  return rest.front() == '.' && rest.substr(1).find('.') == rest.substr(1).rfind('.');
}

SafetensorsIndex parse_index(std::unique_ptr<Json> text, std::size_t bytes, const std::filesystem::path& path,
                             const std::function<void(const std::string&)>& found) {
  SafetensorsIndex index;
  index.path = path;
  index.text = std::move(text);
  Json& json = *index.text;
  FileNames files(index, found);
  bool has_weight_map = false;
  for (auto result : json.open(0, bytes, index_kind, path)) {
    auto field = json.take(std::move(result));
    const std::size_t key_offset = json.offset_of(field.key());
    if (json.key_of(field) != safetensors::weight_map_key) {
      json.pass_over(field.value(), 1);
      continue;
    }
    if (has_weight_map) json.fail("\"weight_map\" occurs twice", key_offset);
    has_weight_map = true;
    Json::Object weight_map;
    if (field.value().get_object().get(weight_map)) json.fail("\"weight_map\" is not an object", key_offset);
    read_weight_map(weight_map, index, files);
  }
  json.close();
  if (!has_weight_map) {
    json.fail("the JSON has no \"weight_map\", as the index of a checkpoint has it", 0, {},
              "name the folder that holds the shards, a shard, or their index");
  }
  if (index.entries.empty()) json.fail("the index names no tensor: its \"weight_map\" is empty", 0);
  sort_files(index);
  return index;
}

}  // namespace sluice
