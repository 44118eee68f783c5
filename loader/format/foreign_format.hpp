// Recognises what people hand in instead of safetensors: other formats of weights, and what failed downloads leave
// behind. Only ever asked about files that are not valid safetensors, to say what they are and what to do. Nothing is
// executed, unpacked or parsed beyond a few magic numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace sluice {

struct ForeignFormat {
  std::string_view what;     // "a PyTorch checkpoint (a zip archive with a pickle in it)"
  std::string_view way_out;  // what to do about it
};

/// By content: `head` are the first bytes of a file, `tail` its last; 64 KiB of each are plenty. What begins with the
/// length of a header and its brace is safetensors, damaged or not, and no other format.
std::optional<ForeignFormat> foreign_format_of_content(std::span<const char> head, std::span<const char> tail);

/// By the ending of a file name. Knows indexes of other formats, NAME.index.json, too.
std::optional<ForeignFormat> foreign_format_of_name(std::string_view file_name);

/// By content, or else by name.
std::optional<ForeignFormat> foreign_format_of(std::span<const char> head, std::span<const char> tail,
                                               std::string_view file_name);

/// Whether a file that begins with `head` is a JSON object, or would be, and no shard.
bool begins_as_json(std::span<const char> head) noexcept;

}  // namespace sluice
