#include "loader/plan/destination_check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "loader/base/limits.hpp"
#include "loader/plan/box.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

[[noreturn]] void refuse(const Destination& destination, std::string message, std::string hint = {}) {
  throw Error(ErrorCode::invalid_argument,
              fmt::format("destination \"{}\" on {}: {}", destination.name(), name(destination.device()), message), {},
              std::move(hint));
}

// As many elements as can be counted in bits.
constexpr std::uint64_t elements_max = UINT64_MAX / 64;

// Elements from the first to behind the last, where strides say how far they are apart; at most UINT64_MAX.
std::uint64_t span_of(const Destination& destination) noexcept {
  const std::vector<std::uint64_t>& shape = destination.shape();
  if (elements_of(shape) == 0) return 0;
  if (!destination.has_strides()) return elements_of(shape);
  unsigned __int128 span = 1;
  for (std::size_t i = 0; i < shape.size(); ++i)
    span += static_cast<unsigned __int128>(shape[i] - 1) * destination.strides()[i];
  return span > UINT64_MAX ? UINT64_MAX : static_cast<std::uint64_t>(span);
}

void check_shape(const Destination& destination) {
  if (destination.name().empty()) refuse(destination, "it has no name");
  if (destination.name().size() > limits::name_bytes_max) {
    refuse(destination,
           fmt::format("its name has {} bytes, more than {}", destination.name().size(), limits::name_bytes_max));
  }
  if (destination.shape().size() > limits::dimensions_max) {
    refuse(destination, fmt::format("{} dimensions, more than {}", destination.shape().size(), limits::dimensions_max));
  }
  const std::uint64_t elements = elements_of(destination.shape());
  if (elements > elements_max) refuse(destination, fmt::format("{} is too large", text_of_shape(destination.shape())));
  if (elements * bits(destination.dtype()) % 8 != 0) {
    refuse(destination, fmt::format("{} elements of {} do not fill whole bytes", elements, name(destination.dtype())));
  }
}

void check_strides(const Destination& destination) {
  const std::vector<std::uint64_t>& shape = destination.shape();
  const std::vector<std::uint64_t>& strides = destination.strides();
  if (!destination.has_memory()) refuse(destination, "strides without memory()", "give the memory that has them");
  if (strides.size() != shape.size()) {
    refuse(destination, fmt::format("{} strides for {} dimensions", strides.size(), shape.size()));
  }
  if (!strides.empty() && strides.back() != 1) {
    refuse(destination, fmt::format("the last stride is {}, not 1", strides.back()));
  }
  std::vector<std::size_t> order;  // from the innermost in memory outwards, dimensions of one index aside
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] > 1) order.push_back(i);
    if (strides[i] * bits(destination.dtype()) % 8 != 0 && shape[i] > 1 && bits(destination.dtype()) < 8 &&
        strides[i] != 1) {
      refuse(destination, fmt::format("stride {} of dimension {} does not fill whole bytes", strides[i], i));
    }
  }
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return strides[a] < strides[b]; });
  unsigned __int128 span = 1;
  for (const std::size_t i : order) {
    if (strides[i] < span) {
      refuse(destination,
             fmt::format("dimension {} overlaps another: its stride is {}, which is less than {}", i, strides[i],
                         static_cast<std::uint64_t>(std::min<unsigned __int128>(span, UINT64_MAX))));
    }
    span += static_cast<unsigned __int128>(shape[i] - 1) * strides[i];
  }
  if (elements_of(shape) != 0 && span_of(destination) > elements_max) refuse(destination, "its strides reach too far");
}

void check_memory(const Destination& destination) {
  const std::uint64_t needed = span_bytes_of(destination);
  if (destination.memory_bytes() < needed) {
    refuse(destination, fmt::format("its memory has {} bytes, it needs {}", destination.memory_bytes(), needed));
  }
  if (destination.data() == nullptr && destination.memory_bytes() != 0) {
    refuse(destination, fmt::format("its memory of {} bytes lies at nullptr", destination.memory_bytes()));
  }
  const auto address = reinterpret_cast<std::uintptr_t>(destination.data());
  if (address % natural_alignment(destination.dtype()) != 0) {
    refuse(destination, fmt::format("its memory at {} is not aligned to {} bytes, as {} needs", destination.data(),
                                    natural_alignment(destination.dtype()), name(destination.dtype())));
  }
  if (destination.memory_bytes() > UINT64_MAX - address) refuse(destination, "its memory reaches beyond all addresses");
}

}  // namespace

std::uint64_t bytes_of(const Destination& destination) noexcept {
  return elements_of(destination.shape()) * bits(destination.dtype()) / 8;
}

std::uint64_t span_bytes_of(const Destination& destination) noexcept {
  return (span_of(destination) * bits(destination.dtype()) + 7) / 8;
}

void check_destination(const Destination& destination) {
  check_shape(destination);
  if (destination.has_strides()) check_strides(destination);
  if (destination.has_memory()) check_memory(destination);
}

}  // namespace sluice
