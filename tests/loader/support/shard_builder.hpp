// Bytes of shards and indexes for tests, right ones and wrong ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "sluice/error.hpp"

namespace sluice {

inline std::vector<std::byte> bytes_of(std::string_view text) {
  std::vector<std::byte> bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

/// A shard of this header and so many bytes of data.
inline std::vector<std::byte> shard_of(std::string_view header, std::size_t data_bytes = 0) {
  const std::uint64_t length = header.size();
  std::string text(sizeof length, '\0');
  std::memcpy(text.data(), &length, sizeof length);
  text += header;
  text.append(data_bytes, '\x5A');
  return bytes_of(text);
}

/// A header of U8 tensors of 4 bytes each, and nothing else.
inline std::string header_of(const std::vector<std::string>& names) {
  std::string header = "{";
  for (std::size_t i = 0; i < names.size(); ++i) {
    header += (i == 0 ? "\"" : ",\"") + names[i] + "\":{\"dtype\":\"U8\",\"shape\":[2,2],\"data_offsets\":[" +
              std::to_string(4 * i) + "," + std::to_string(4 * i + 4) + "]}";
  }
  return header + "}";
}

inline std::vector<std::byte> shard_with(const std::vector<std::string>& names) {
  return shard_of(header_of(names), 4 * names.size());
}

/// What `action` throws; an Error of no code where it does not.
template <typename Action>
Error error_of(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  return Error(ErrorCode{}, "nothing was thrown");
}

}  // namespace sluice
