// TemporaryFolder: a folder of a test's own, removed with all that is in it at the end.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace sluice {

class TemporaryFolder {
 public:
  explicit TemporaryFolder(const std::filesystem::path& parent = std::filesystem::temp_directory_path()) {
    std::string pattern = (parent / "sluice-test-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder can be made");
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const noexcept { return path_; }

  /// Writes a file of that name; returns its path.
  std::filesystem::path write(const std::string& name, const std::vector<std::byte>& content) const {
    std::filesystem::path path = path_ / name;
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file.write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
    file.close();
    if (!file) throw std::runtime_error("cannot write " + path.string());
    return path;
  }

 private:
  std::filesystem::path path_;
};

/// Not watched for races: the bytes are those of the caller alone, and there are many of them.
__attribute__((no_sanitize("thread"))) inline void fill_with_noise(std::byte* bytes, std::size_t count,
                                                                   std::uint64_t seed) {
  constexpr std::uint64_t step = 0x9e3779b97f4a7c15u;
  std::uint64_t state = seed * 0xd1342543de82ef95u;  // no multiple of the step: seeds are no shifts of each other
  for (std::size_t i = 0; i < count; i += sizeof state) {
    // SplitMix64, by Sebastiano Vigna.
    std::uint64_t mixed = state += step;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
    mixed ^= mixed >> 31;
    std::memcpy(bytes + i, &mixed, count - i < sizeof mixed ? count - i : sizeof mixed);
  }
}

/// `count` bytes of which no two neighbourhoods look alike, so that a misplaced one is found.
inline std::vector<std::byte> noise(std::size_t count, std::uint64_t seed = 1) {
  std::vector<std::byte> bytes(count);
  fill_with_noise(bytes.data(), count, seed);
  return bytes;
}

/// Without a look at each byte by itself, which takes a sanitizer long.
inline bool same_bytes(const std::vector<std::byte>& a, const std::vector<std::byte>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

}  // namespace sluice
