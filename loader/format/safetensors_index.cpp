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

/// The file in a folder that `name` means, in its shortest spelling, or nothing where it may lie outside of the folder.
std::optional<std::string> inside_folder(std::string_view name) {
  if (name.empty() || name.front() == '/' || name.find('\0') != std::string_view::npos) return std::nullopt;
  const std::filesystem::path path(name);
  if (std::ranges::find(path, "..") != path.end()) return std::nullopt;
  const std::string normal = path.lexically_normal().string();
  if (normal == "." || normal.back() == '/') return std::nullopt;  // a folder
  return normal;
}

/// Sorts the files by name, so that shards are numbered alike whatever order the index names them in.
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

}  // namespace

SafetensorsIndex parse_index(std::unique_ptr<Json> text, std::size_t bytes, const std::filesystem::path& path,
                             const std::function<void(const std::string&)>& found) {
  SafetensorsIndex index;
  index.path = path;
  index.text = std::move(text);
  Json& json = *index.text;

  tsl::robin_map<std::string, std::uint32_t> files;
  // Neighbours mostly lie in the same file, spelled the same.
  std::string_view last_spelling;
  std::uint32_t last_file = 0;
  const auto file_of = [&](std::string_view spelling, std::size_t offset, std::string_view tensor) {
    if (!index.files.empty() && spelling == last_spelling) return last_file;
    const auto name = inside_folder(spelling);
    if (!name) {
      json.fail(fmt::format("the index names \"{}\", which is no file inside its folder", spelling.substr(0, 256)),
                offset, tensor,
                "an index may name only files beside it; download the checkpoint again from a source you trust");
    }
    const auto [file, is_new] = files.try_emplace(*name, static_cast<std::uint32_t>(index.files.size()));
    if (is_new) {
      if (index.files.size() == limits::shards_max) {
        throw Error(ErrorCode::limit_exceeded,
                    fmt::format("the index names more than {} shards (shards_max in loader/base/limits.hpp)",
                                limits::shards_max),
                    {path.string(), offset, std::string(tensor)});
      }
      index.files.push_back(*name);
      found(*name);
    }
    last_spelling = spelling;
    last_file = file->second;
    return last_file;
  };

  bool has_weight_map = false;
  for (auto result : json.open(0, bytes, ErrorCode::bad_index, path)) {
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
    for (auto entry_result : weight_map) {
      auto entry = json.take(std::move(entry_result));
      const std::size_t offset = json.offset_of(entry.key());
      const std::string_view tensor = json.key_of(entry);
      if (index.entries.size() == limits::tensors_max) {
        throw Error(ErrorCode::limit_exceeded,
                    fmt::format("the index names more than {} tensors (tensors_max in loader/base/limits.hpp)",
                                limits::tensors_max),
                    {path.string(), offset, std::string(tensor)});
      }
      std::string_view file;
      if (json.string_of(entry.value()).get(file)) json.fail("the index names no file for a tensor", offset, tensor);
      index.entries.push_back({tensor, file_of(file, offset, tensor), offset});
    }
  }
  json.close();
  if (!has_weight_map) json.fail("the index has no \"weight_map\"", 0, {}, "it is no index of safetensors shards");
  if (index.entries.empty()) json.fail("the index names no tensor: its \"weight_map\" is empty", 0);
  sort_files(index);
  return index;
}

}  // namespace sluice
