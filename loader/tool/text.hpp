// Text for people: names that are safe to print, sizes, rates and times at a length that is read at a glance. Pure
// functions.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace sluice::tool {

/// Appends `text` such that a terminal shows it as one line and obeys nothing in it: control characters, direction
/// overrides and bytes that are not UTF-8 are spelled out ("\n", "\x1b", "\u202e"); all other UTF-8 stays as it is.
void append_escaped(std::string& target, std::string_view text);
std::string escaped(std::string_view text);

std::string decimal_size(std::uint64_t bytes);  // "91.6 MB": storage, tensors, and what is divided by seconds
std::string binary_size(std::uint64_t bytes);   // "64.0 MiB": memory, and what the options take
std::string duration(double seconds);           // "12.3 ms", "4.56 s", "3 min 20 s"
std::string shape(std::span<const std::uint64_t> extents);           // "[1024, 384]"; "[]" for a scalar
std::string count(std::uint64_t number, std::string_view singular);  // "1 tensor", "104 tensors"
std::string count(std::uint64_t number, std::string_view singular, std::string_view plural);  // "1 copy", "2 copies"

}  // namespace sluice::tool
