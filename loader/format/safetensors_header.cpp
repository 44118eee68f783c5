#include "loader/format/safetensors_header.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <tuple>

#include "loader/base/limits.hpp"
#include "loader/format/json.hpp"
#include "loader/format/safetensors_format.hpp"
#include "sluice/dtype.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

// A tensor as its header spells it. Name and shape are kept as indices: the blocks they lie in still grow.
struct Entry {
  std::uint64_t begin = 0;  // from the first byte of tensor data
  std::uint64_t end = 0;
  std::size_t name_begin = 0;
  std::size_t shape_begin = 0;
  std::uint32_t name_bytes = 0;
  std::uint32_t dimensions = 0;
  std::uint32_t key_offset = 0;  // in the file: where messages point
  Dtype dtype = Dtype::u8;
};

constexpr Json::Kind header_kind{ErrorCode::bad_header,
                                 "the file is damaged or was not written by safetensors: download or convert it again"};

}  // namespace

struct HeaderParser::Scratch {
  Json json;
  std::vector<Entry> entries;
  std::vector<char> names;
  std::vector<std::uint64_t> shapes;

  std::vector<std::pair<std::string, std::string>> read_metadata(Json::Value value);
  void read_tensor(Json::Value value, std::string_view name, std::uint32_t key_offset);
  void read_array(Json::Array fields, std::string_view tensor, Entry& entry);
  void read_object(Json::Object fields, std::string_view tensor, Entry& entry);
  Dtype read_dtype(Json::Value value, std::string_view tensor);
  void read_shape(Json::Value value, std::string_view tensor, Entry& entry);
  void read_offsets(Json::Value value, std::string_view tensor, Entry& entry);
  std::uint64_t read_size(Json::Value value, std::string_view tensor, std::string_view what);
  void validate(std::uint64_t data_offset, std::uint64_t file_bytes) const;

  std::string_view name_of(const Entry& entry) const noexcept {
    return {names.data() + entry.name_begin, entry.name_bytes};
  }
  std::span<const std::uint64_t> shape_of(const Entry& entry) const noexcept {
    return {shapes.data() + entry.shape_begin, entry.dimensions};
  }
  [[noreturn]] void refuse(const Entry& entry, std::string message, std::string hint = {}) const {
    json.fail(std::move(message), entry.key_offset, name_of(entry), std::move(hint));
  }
  [[noreturn]] void refuse_limit(std::string message, std::string_view limit, std::size_t offset,
                                 std::string_view tensor) const {
    throw Error(ErrorCode::limit_exceeded, fmt::format("{} ({} in sluice/limits.hpp)", message, limit),
                {path->string(), offset, std::string(tensor)});
  }

  const std::filesystem::path* path = nullptr;
};

HeaderParser::HeaderParser() : scratch_(std::make_unique<Scratch>()) {}
HeaderParser::~HeaderParser() = default;

char* HeaderParser::room(std::size_t bytes, std::size_t kept) {
  return scratch_->json.room(bytes, kept);
}

std::uint64_t HeaderParser::data_offset(std::uint64_t file_bytes, const std::filesystem::path& path) const {
  const auto refuse = [&](std::string message, std::string_view hint = header_kind.hint) {
    throw Error(ErrorCode::bad_header, std::move(message), {path.string(), 0, {}}, std::string(hint));
  };
  if (file_bytes == 0) refuse("the file is empty", "download it again");
  if (file_bytes < safetensors::length_bytes) {
    refuse(fmt::format("a file of {} bytes has no room for the header's length", file_bytes), "download it again");
  }
  std::uint64_t header_bytes = 0;
  static_assert(sizeof header_bytes == safetensors::length_bytes);
  std::memcpy(&header_bytes, scratch_->json.room(safetensors::length_bytes, safetensors::length_bytes),
              sizeof header_bytes);
  if (header_bytes > limits::header_bytes_max) {
    refuse(fmt::format("a header of {} bytes is announced, more than the format's {}", header_bytes,
                       limits::header_bytes_max));
  }
  if (header_bytes > file_bytes - safetensors::length_bytes) {
    refuse(fmt::format("the file ends in its header: {} bytes are announced, {} are there", header_bytes,
                       file_bytes - safetensors::length_bytes),
           "the file is truncated: download it again");
  }
  return safetensors::length_bytes + header_bytes;
}

ShardHeader HeaderParser::parse(std::uint64_t data_offset, std::uint64_t file_bytes,
                                const std::filesystem::path& path) {
  Scratch& scratch = *scratch_;
  Json& json = scratch.json;
  scratch.path = &path;
  scratch.entries.clear();
  scratch.names.clear();
  scratch.shapes.clear();

  ShardHeader header;
  bool has_metadata = false;
  for (auto result : json.open(safetensors::length_bytes, data_offset, header_kind, path)) {
    auto field = json.take(std::move(result));
    const std::size_t key_offset = json.offset_of(field.key());
    const std::string_view name = json.key_of(field);
    if (name != safetensors::metadata_key) {
      scratch.read_tensor(field.value(), name, static_cast<std::uint32_t>(key_offset));
      continue;
    }
    if (has_metadata) json.fail("\"__metadata__\" occurs twice", key_offset);
    has_metadata = true;
    if (!json.is_null(field.value())) header.metadata = scratch.read_metadata(field.value());
  }
  json.close();

  const auto by_offset = [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, a.key_offset) < std::tie(b.begin, b.end, b.key_offset);
  };
  // Writers put tensors in order of offset, so that there is rarely anything to sort.
  if (!std::ranges::is_sorted(scratch.entries, by_offset)) std::ranges::sort(scratch.entries, by_offset);
  scratch.validate(data_offset, file_bytes);

  header.names = std::make_unique_for_overwrite<char[]>(scratch.names.size());
  header.shapes = std::make_unique_for_overwrite<std::uint64_t[]>(scratch.shapes.size());
  std::ranges::copy(scratch.names, header.names.get());
  std::ranges::copy(scratch.shapes, header.shapes.get());
  header.tensors.reserve(scratch.entries.size());
  for (const Entry& entry : scratch.entries) {
    header.tensors.push_back({.name = {header.names.get() + entry.name_begin, entry.name_bytes},
                              .shape = {header.shapes.get() + entry.shape_begin, entry.dimensions},
                              .offset = data_offset + entry.begin,
                              .bytes = entry.end - entry.begin,
                              .dtype = entry.dtype});
  }
  return header;
}

std::vector<std::pair<std::string, std::string>> HeaderParser::Scratch::read_metadata(Json::Value value) {
  Json::Object object;
  if (value.get_object().get(object)) json.fail_here("\"__metadata__\" is neither null nor an object");
  std::vector<std::pair<std::string, std::string>> metadata;
  for (auto result : object) {
    auto field = json.take(std::move(result));
    std::string key(json.take(field.unescaped_key()));
    if (json.take(field.value().type()) != simdjson::ondemand::json_type::string) {
      json.fail_here("\"__metadata__\" holds what is not a string");
    }
    metadata.emplace_back(std::move(key), json.take(field.value().get_string()));
  }
  // Of two entries with one key the reference keeps the later.
  std::ranges::stable_sort(metadata, {}, &std::pair<std::string, std::string>::first);
  const auto last_of_each =
      std::unique(metadata.rbegin(), metadata.rend(), [](const auto& a, const auto& b) { return a.first == b.first; });
  metadata.erase(metadata.begin(), last_of_each.base());
  return metadata;
}

void HeaderParser::Scratch::read_tensor(Json::Value value, std::string_view name, std::uint32_t key_offset) {
  using simdjson::ondemand::json_type;
  if (entries.size() == limits::tensors_max) {
    refuse_limit(fmt::format("more than {} tensors", limits::tensors_max), "tensors_max", key_offset, name);
  }
  if (name.size() > limits::name_bytes_max) {
    refuse_limit(fmt::format("a tensor's name of {} bytes", name.size()), "name_bytes_max", key_offset, name);
  }
  Entry entry;
  entry.key_offset = key_offset;
  entry.name_begin = names.size();
  entry.name_bytes = static_cast<std::uint32_t>(name.size());
  names.insert(names.end(), name.begin(), name.end());

  // serde's derived code takes a struct as an object, in any order and with keys that it does not know, or as an array
  // of exactly its fields.
  const json_type type = json.take(value.type());
  if (type == json_type::object) {
    read_object(json.take(value.get_object()), name, entry);
  } else if (type == json_type::array) {
    read_array(json.take(value.get_array()), name, entry);
  } else {
    json.fail_here("a tensor is not described by an object", name);
  }
  entries.push_back(entry);
}

void HeaderParser::Scratch::read_array(Json::Array fields, std::string_view tensor, Entry& entry) {
  unsigned index = 0;
  for (auto element : fields) {
    switch (index++) {
      case 0:
        entry.dtype = read_dtype(json.take(std::move(element)), tensor);
        break;
      case 1:
        read_shape(json.take(std::move(element)), tensor, entry);
        break;
      case 2:
        read_offsets(json.take(std::move(element)), tensor, entry);
        break;
      default:
        json.fail_here("a tensor written as an array has more than dtype, shape and data_offsets", tensor);
    }
  }
  if (index < 3) {
    json.fail("a tensor written as an array lacks dtype, shape or data_offsets", entry.key_offset, tensor);
  }
}

void HeaderParser::Scratch::read_object(Json::Object fields, std::string_view tensor, Entry& entry) {
  constexpr unsigned depth = 2;  // of a value here: the header, the tensor
  bool has_dtype = false;
  bool has_shape = false;
  bool has_offsets = false;
  const auto once = [&](bool& seen, std::string_view key) {
    if (seen) json.fail_here(fmt::format("\"{}\" occurs twice", key), tensor);
    seen = true;
  };
  for (auto result : fields) {
    auto field = json.take(std::move(result));
    const std::string_view key = json.key_of(field);
    if (key == safetensors::dtype_key) {
      once(has_dtype, key);
      entry.dtype = read_dtype(field.value(), tensor);
    } else if (key == safetensors::shape_key) {
      once(has_shape, key);
      read_shape(field.value(), tensor, entry);
    } else if (key == safetensors::offsets_key) {
      once(has_offsets, key);
      read_offsets(field.value(), tensor, entry);
    } else {
      json.pass_over(field.value(), depth);
    }
  }
  if (!has_dtype || !has_shape || !has_offsets) {
    const std::string_view missing =
        !has_dtype ? safetensors::dtype_key : (!has_shape ? safetensors::shape_key : safetensors::offsets_key);
    json.fail(fmt::format("a tensor has no \"{}\"", missing), entry.key_offset, tensor);
  }
}

// serde takes an enumeration's value as a string, or as an object whose one key is that string and whose value is
// null.
Dtype HeaderParser::Scratch::read_dtype(Json::Value value, std::string_view tensor) {
  const auto parse = [&](std::string_view name) {
    const auto dtype = parse_dtype(name);
    if (!dtype) {
      json.fail_here(fmt::format("unknown dtype \"{}\"", name.substr(0, 64)), tensor);
    }
    return *dtype;
  };
  const auto type = json.take(value.type());
  if (type == simdjson::ondemand::json_type::string) return parse(json.take(json.string_of(value)));
  if (type != simdjson::ondemand::json_type::object) json.fail_here("\"dtype\" is not a string", tensor);
  std::optional<Dtype> dtype;
  for (auto result : json.take(value.get_object())) {
    auto field = json.take(std::move(result));
    if (dtype) json.fail_here("\"dtype\" is an object of more than one key", tensor);
    dtype = parse(json.take(field.unescaped_key()));
    if (!json.is_null(field.value())) json.fail_here("\"dtype\" is an object whose value is not null", tensor);
  }
  if (!dtype) json.fail_here("\"dtype\" is an empty object", tensor);
  return *dtype;
}

void HeaderParser::Scratch::read_shape(Json::Value value, std::string_view tensor, Entry& entry) {
  Json::Array array;
  if (value.get_array().get(array)) json.fail_here("\"shape\" is not an array", tensor);
  entry.shape_begin = shapes.size();
  for (auto element : array) {
    if (entry.dimensions == limits::dimensions_max) {
      refuse_limit(fmt::format("more than {} dimensions", limits::dimensions_max), "dimensions_max", entry.key_offset,
                   tensor);
    }
    shapes.push_back(read_size(json.take(std::move(element)), tensor, safetensors::shape_key));
    ++entry.dimensions;
  }
}

void HeaderParser::Scratch::read_offsets(Json::Value value, std::string_view tensor, Entry& entry) {
  Json::Array array;
  if (value.get_array().get(array)) json.fail_here("\"data_offsets\" is not an array", tensor);
  unsigned index = 0;
  for (auto element : array) {
    if (index == 2) json.fail_here("\"data_offsets\" has more than two elements", tensor);
    (index++ == 0 ? entry.begin : entry.end) =
        read_size(json.take(std::move(element)), tensor, safetensors::offsets_key);
  }
  if (index != 2) json.fail_here("\"data_offsets\" has fewer than two elements", tensor);
}

std::uint64_t HeaderParser::Scratch::read_size(Json::Value value, std::string_view tensor, std::string_view what) {
  std::uint64_t size = 0;
  if (value.get_uint64().get(size)) {
    json.fail_here(fmt::format("\"{}\" holds what is no whole number from 0 to 2^64 - 1", what), tensor);
  }
  return size;
}

// The reference's `Metadata::validate` and the end of its `read_metadata`: tensors lie back to back, are as long as
// dtype and shape say, and fill the file.
void HeaderParser::Scratch::validate(std::uint64_t data_offset, std::uint64_t file_bytes) const {
  std::uint64_t end = 0;
  for (const Entry& entry : entries) {
    if (entry.end < entry.begin) {
      refuse(entry, fmt::format("data_offsets [{}, {}] end before they begin", entry.begin, entry.end));
    }
    if (entry.begin != end) {
      const auto same_name = [&](const Entry& other) { return name_of(other) == name_of(entry); };
      if (std::ranges::count_if(entries, same_name) > 1) refuse(entry, "two tensors share a name");
      refuse(entry, fmt::format("the tensor begins at {} of the data, {} where the one before it ends, {}", entry.begin,
                                entry.begin < end ? "before" : "behind", end));
    }
    end = entry.end;

    // Left to right, as the reference: [0, 2^63, 2] holds nothing and is fine, [2^63, 2, 0] overflows.
    std::uint64_t elements = 1;
    std::uint64_t total_bits = 0;
    bool overflows = false;
    for (const std::uint64_t dimension : shape_of(entry)) {
      overflows = overflows || __builtin_mul_overflow(elements, dimension, &elements);
    }
    if (overflows || __builtin_mul_overflow(elements, std::uint64_t{bits(entry.dtype)}, &total_bits)) {
      refuse(entry, "the shape describes more than 2^64 bits");
    }
    if (total_bits % 8 != 0) {
      refuse(entry, fmt::format("{} elements of {} do not fill whole bytes", elements, name(entry.dtype)));
    }
    if (entry.end - entry.begin != total_bits / 8) {
      refuse(entry, fmt::format("data_offsets [{}, {}] hold {} bytes, but dtype and shape need {}", entry.begin,
                                entry.end, entry.end - entry.begin, total_bits / 8));
    }
  }
  const std::uint64_t data_bytes = file_bytes - data_offset;
  if (end > data_bytes) {
    const auto cut = std::ranges::find_if(entries, [&](const Entry& entry) { return entry.end > data_bytes; });
    refuse(
        *cut,
        fmt::format("the tensor extends past the end of the file: the header describes {} bytes of data, {} are there",
                    end, data_bytes),
        "the file is truncated: download it again");
  }
  if (end < data_bytes) {
    json.fail(fmt::format("{} bytes follow the last tensor", data_bytes - end), data_offset + end);
  }
}

}  // namespace sluice
