// DeviceId: names a place where tensors end up. A plain value; naming a device neither opens nor needs it.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sluice/export.hpp"

namespace sluice {

struct DeviceId {
  enum class Kind : std::uint8_t {
    host,  // the process's own memory
    cuda,  // a CUDA GPU by the driver's ordinal (after CUDA_VISIBLE_DEVICES)
    null,  // takes and forgets: to measure everything before it
  };

  Kind kind = Kind::host;
  int ordinal = 0;  // of CUDA GPUs; 0 for the others

  friend auto operator<=>(const DeviceId&, const DeviceId&) = default;
};

inline constexpr DeviceId host() noexcept {
  return {DeviceId::Kind::host, 0};
}
inline constexpr DeviceId cuda(int ordinal) noexcept {
  return {DeviceId::Kind::cuda, ordinal};
}
inline constexpr DeviceId null() noexcept {
  return {DeviceId::Kind::null, 0};
}

/// "host", "null", "cuda:3".
SLUICE_API std::string name(DeviceId device);

/// The devices of a comma-separated list: "host", "null", "cuda:0,cuda:1", "cuda:0,1". "cuda" alone is "cuda:0".
/// Throws Error{invalid_argument} for anything else, for a device named twice and for an empty list.
SLUICE_API std::vector<DeviceId> parse_devices(std::string_view list);

}  // namespace sluice
