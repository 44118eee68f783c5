#include "loader/format/foreign_format.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <string>

#include "loader/base/limits.hpp"
#include "loader/format/safetensors_format.hpp"

namespace sluice {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view convert_pickle =
    "pickles can run code and are never opened: download the model's safetensors version, or convert it with "
    "safetensors (safetensors.torch.save_file of the loaded state dict) where you trust the file";

constexpr ForeignFormat pickle{"a pickle, as PyTorch's torch.save writes them", convert_pickle};
constexpr ForeignFormat pytorch_zip{"a PyTorch checkpoint (a zip archive with a pickle, data.pkl, in it)",
                                    convert_pickle};
constexpr ForeignFormat zip{"a zip archive", "unpack it and open the safetensors files in it"};
constexpr ForeignFormat numpy_file{"NumPy arrays", "convert it with safetensors.numpy.save_file"};
constexpr ForeignFormat gguf{"a GGUF file", "sluice reads safetensors: download the model's safetensors version"};
constexpr ForeignFormat onnx{"an ONNX model",
                             "export the weights with safetensors, or download the safetensors version"};
constexpr ForeignFormat hdf5{"an HDF5 file, as Keras writes them",
                             "convert it with safetensors, or download the safetensors version"};
constexpr ForeignFormat tensorflow{"a TensorFlow checkpoint", "convert it with safetensors.tensorflow.save_file"};
constexpr ForeignFormat msgpack{"a Flax checkpoint (msgpack)", "convert it with safetensors.flax.save_file"};
constexpr ForeignFormat tar{"a tar archive", "unpack it and open the safetensors files in it"};
constexpr ForeignFormat compressed{"a compressed file", "decompress it first: tensors are read in place"};
constexpr ForeignFormat lfs_pointer{"a Git LFS pointer", "run `git lfs pull` in its folder"};
constexpr ForeignFormat web_page{"a web page, most likely the answer to a refused download",
                                 "download it again; the model may need you to log in or to accept its licence"};
constexpr ForeignFormat zeros{"a file that begins with zeros, as an unfinished download leaves it",
                              "finish the download, or download it again"};
constexpr ForeignFormat json_file{"a JSON file",
                                  "download it again, if it should be a shard; an index is opened by any name "
                                  "that does not end in .safetensors"};

bool holds(std::string_view text, std::string_view what) noexcept {
  return text.find(what) != std::string_view::npos;
}

std::string_view without_space(std::string_view text) noexcept {
  return text.substr(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
}

std::string lower(std::string_view text) {
  std::string copy(text);
  std::ranges::transform(copy, copy.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return copy;
}

// A header's length that the format allows, and the brace that the header begins with. No other format known begins so,
// though the length's bytes may spell the beginning of any.
bool begins_as_shard(std::string_view head) noexcept {
  std::uint64_t header_bytes = 0;
  static_assert(sizeof header_bytes == safetensors::length_bytes);
  if (head.size() <= sizeof header_bytes || head[sizeof header_bytes] != '{') return false;
  std::memcpy(&header_bytes, head.data(), sizeof header_bytes);
  return header_bytes <= limits::header_bytes_max;
}

// Protocols 2 to 5 begin with 0x80 and their number; then opcodes. Older ones are text: a mark or an import, and a
// newline.
bool is_pickle(std::string_view head) noexcept {
  if (head.size() >= 3 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5) {
    // Five zeros behind the first opcode are none of its arguments but the upper bytes of a header's length, where a
    // shard is damaged behind it.
    return head[2] != '\0' && head.substr(3, 5) != "\0\0\0\0\0"sv;
  }
  constexpr std::array old_heads = {
      "(dp"sv,    "(lp"sv,    "ccopy_reg\n"sv,    "c__main__\n"sv, "c__builtin__\n"sv, "cbuiltins\n"sv,
      "ctorch"sv, "cnumpy"sv, "ccollections\n"sv, "cposix\n"sv,    "cos\n"sv,          "csubprocess\n"sv,
      "}q\0"sv,   "]q\0"sv};
  return std::ranges::any_of(old_heads, [&](std::string_view old) { return head.starts_with(old); });
}

// A ModelProto: field 1, the version of the format, a small number; then the producer's name, the graph or an opset,
// which are not empty.
bool is_onnx(std::string_view head) noexcept {
  if (head.size() < 4 || head[0] != '\x08' || head[1] < 1 || head[1] > 32 || head[3] == '\0') return false;
  return head[2] == '\x12' || head[2] == '\x1A' || head[2] == '\x3A' || head[2] == '\x42';
}

}  // namespace

std::optional<ForeignFormat> foreign_format_of_content(std::span<const char> head_bytes,
                                                       std::span<const char> tail_bytes) {
  const std::string_view head(head_bytes.data(), head_bytes.size());
  const std::string_view tail(tail_bytes.data(), tail_bytes.size());
  if (begins_as_shard(head)) return std::nullopt;
  if (head.starts_with("PK\x03\x04"sv) || head.starts_with("PK\x05\x06"sv)) {
    // The name stands in the record of the file itself, mostly the first, and in the directory at the archive's end.
    if (holds(head, "data.pkl"sv) || holds(tail, "data.pkl"sv)) return pytorch_zip;
    if (holds(head.substr(0, 512), ".npy"sv)) return numpy_file;
    return zip;
  }
  if (head.starts_with("GGUF"sv) || head.starts_with("FUGG"sv)) return gguf;
  if (head.starts_with("\x93NUMPY"sv)) return numpy_file;
  if (head.starts_with("\x89HDF\r\n\x1A\n"sv)) return hdf5;
  if (head.starts_with("version https://git-lfs.github.com/spec/"sv)) return lfs_pointer;
  if (head.size() > 262 && head.substr(257, 5) == "ustar"sv) return tar;
  if (head.starts_with("\x1F\x8B"sv) || head.starts_with("\x28\xB5\x2F\xFD"sv) || head.starts_with("\xFD\x37zXZ"sv)) {
    return compressed;
  }
  if (is_pickle(head)) return pickle;
  if (is_onnx(head)) return onnx;
  if (!head.empty() && head.find_first_not_of('\0') == std::string_view::npos) return zeros;
  const std::string start = lower(without_space(head).substr(0, 16));
  if (start.starts_with("<!doctype") || start.starts_with("<html") || start.starts_with("<?xml")) return web_page;
  if (begins_as_json(head_bytes)) return json_file;
  return std::nullopt;
}

std::optional<ForeignFormat> foreign_format_of_name(std::string_view file_name) {
  struct Ending {
    std::string_view text;
    ForeignFormat format;
    std::string_view index = "the index of a checkpoint in another format";
  };
  constexpr std::string_view pickle_index = "the index of a pickle checkpoint";
  constexpr std::array endings = {
      Ending{".bin", pickle, pickle_index},
      Ending{".pt", pickle, pickle_index},
      Ending{".pth", pickle, pickle_index},
      Ending{".ckpt", pickle, pickle_index},
      Ending{".pkl", pickle, pickle_index},
      Ending{".pickle", pickle, pickle_index},
      Ending{".gguf", gguf},
      Ending{".onnx", onnx},
      Ending{".h5", hdf5, "the index of a TensorFlow checkpoint"},
      Ending{".keras", hdf5},
      Ending{".tflite", tensorflow},
      Ending{".msgpack", msgpack, "the index of a Flax checkpoint"},
      Ending{".npz", numpy_file},
      Ending{".npy", numpy_file},
      Ending{".zip", zip},
      Ending{".tar", tar},
  };
  const std::string lower_name = lower(file_name);
  // NAME.index.json, or NAME.index.VARIANT.json
  const std::size_t index_at = lower_name.ends_with(".json") ? lower_name.rfind(".index.") : std::string::npos;
  const std::string_view name = std::string_view(lower_name).substr(0, index_at);
  const auto found = std::ranges::find_if(endings, [&](const Ending& ending) { return name.ends_with(ending.text); });
  if (found == endings.end()) return std::nullopt;
  if (index_at != std::string::npos) return ForeignFormat{found->index, found->format.way_out};
  return found->format;
}

std::optional<ForeignFormat> foreign_format_of(std::span<const char> head, std::span<const char> tail,
                                               std::string_view file_name) {
  if (begins_as_shard({head.data(), head.size()})) return std::nullopt;
  if (const auto format = foreign_format_of_content(head, tail)) return format;
  return foreign_format_of_name(file_name);
}

bool begins_as_json(std::span<const char> head) noexcept {
  const std::string_view text(head.data(), head.size());
  // A shard's length may spell a brace, too, but is followed by zeros.
  return without_space(text).starts_with('{') && !holds(text.substr(0, safetensors::length_bytes), "\0"sv);
}

}  // namespace sluice
