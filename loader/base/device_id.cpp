#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "sluice/device.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

// A decimal number and nothing else, or nothing.
std::optional<int> parse_ordinal(std::string_view text) noexcept {
  if (text.empty() || text.front() == '-') return std::nullopt;
  int ordinal = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), ordinal);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return ordinal;
}

// One item of a list. `after_cuda`: the item before it is a CUDA device, so that a bare number is the next one.
std::optional<DeviceId> parse_device(std::string_view item, bool after_cuda) noexcept {
  if (item == "host") return host();
  if (item == "null") return null();
  if (item == "cuda") return cuda(0);
  constexpr std::string_view prefix = "cuda:";
  if (item.starts_with(prefix)) {
    item.remove_prefix(prefix.size());
  } else if (!after_cuda) {
    return std::nullopt;
  }
  const std::optional<int> ordinal = parse_ordinal(item);
  return ordinal ? std::optional(cuda(*ordinal)) : std::nullopt;
}

}  // namespace

std::string name(DeviceId device) {
  switch (device.kind) {
    case DeviceId::Kind::host:
      return "host";
    case DeviceId::Kind::cuda:
      return fmt::format("cuda:{}", device.ordinal);
    case DeviceId::Kind::null:
      return "null";
  }
  return "unknown";
}

std::vector<DeviceId> parse_devices(std::string_view list) {
  std::vector<DeviceId> devices;
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    const std::string_view item = list.substr(begin, end - begin);
    const bool after_cuda = !devices.empty() && devices.back().kind == DeviceId::Kind::cuda;
    const std::optional<DeviceId> device = parse_device(item, after_cuda);
    if (!device) {
      throw Error(ErrorCode::invalid_argument, fmt::format("\"{}\" in \"{}\" is no device", item, list), {},
                  "write host, null, cuda:N or cuda:0,1");
    }
    if (std::find(devices.begin(), devices.end(), *device) != devices.end()) {
      throw Error(ErrorCode::invalid_argument, fmt::format("\"{}\" names {} twice", list, name(*device)));
    }
    devices.push_back(*device);
    begin = end + 1;
  }
  return devices;
}

}  // namespace sluice
