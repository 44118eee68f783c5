#include "loader/device/stream_copy.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)  // all of x86-64
#include <emmintrin.h>
#endif

namespace sluice {

#if defined(__SSE2__)

void stream_copy(void* target, const void* source, std::size_t bytes) noexcept {
  constexpr std::size_t line = 64;
  constexpr std::size_t vector = sizeof(__m128i);
  auto* const to = static_cast<std::byte*>(target);
  const auto* const from = static_cast<const std::byte*>(source);

  // Only whole lines go past the caches: one that is written in part, or in two ways, is dearer than any copy.
  const std::size_t lead = std::min(bytes, (line - reinterpret_cast<std::uintptr_t>(to) % line) % line);
  const std::size_t end = bytes - (bytes - lead) % line;
  std::memcpy(to, from, lead);
  for (std::size_t at = lead; at < end; at += line) {
    __m128i vectors[line / vector];
    std::memcpy(vectors, from + at, line);
    for (std::size_t i = 0; i < line / vector; ++i) {
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + at + i * vector), vectors[i]);
    }
  }
  std::memcpy(to + end, from + end, bytes - end);
}

void end_streams() noexcept {
  _mm_sfence();
}

#else

void stream_copy(void* target, const void* source, std::size_t bytes) noexcept {
  if (bytes != 0) std::memcpy(target, source, bytes);
}

void end_streams() noexcept {}

#endif

}  // namespace sluice
