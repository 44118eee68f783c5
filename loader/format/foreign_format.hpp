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

/// By content: `head` are the first bytes of a file, `tail` its last; 64 KiB of each are plenty.
std::optional<ForeignFormat> foreign_format_of_content(std::span<const char> head, std::span<const char> tail);

/// By the ending of a file name.
std::optional<ForeignFormat> foreign_format_of_name(std::string_view file_name);

}  // namespace sluice
