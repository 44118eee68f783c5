// Fatbinary: the container in which nvcc puts cubins and PTX, read so that the PTX that ships can be executed. The
// format is not documented; this is what nvcc 12 and 13 write. Any bytes may be given: nothing outside them is read.
//
//   header    u32 0xba55ed50, u16 version 1, u16 header bytes, u64 bytes that follow
//   entries   u16 kind (1 PTX, 2 ELF), u16, u32 header bytes, u64 payload bytes, u32 compressed bytes, u32, u16 minor,
//             u16 major, u32 architecture (75), ...; then the payload, PTX padded with NUL
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string_view>
#include <vector>

namespace sluice::sim::ptx {

class FatbinaryError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Entry {
  enum class Kind { ptx, elf };

  Kind kind = Kind::ptx;
  std::uint32_t architecture = 0;      // 75 for sm_75
  std::span<const std::byte> payload;  // of the image
  std::string_view text;               // of PTX: the payload without its padding
};

inline constexpr std::size_t fatbinary_header_bytes = 16;

/// How long the image is that begins so: drivers are given an address only.
std::uint64_t fatbinary_bytes(std::span<const std::byte, fatbinary_header_bytes> header);

/// In the image's order. Throws FatbinaryError, also for compressed entries and unknown kinds.
std::vector<Entry> entries(std::span<const std::byte> image);

}  // namespace sluice::sim::ptx
