// What the bare contenders share: fresh memory, the shards, and one line of JSON about what was done. Each is a process
// a run, as a cold start is; none handles errors but by ending.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <span>
#include <string>
#include <vector>

namespace contender {

[[noreturn]] inline void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

/// Huge pages, none of them touched, aligned to one.
inline std::byte* fresh_memory(std::uint64_t bytes) {
  constexpr std::uint64_t huge_page = 2 << 20;
  void* const raw =
      mmap(nullptr, bytes + huge_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) fail("mmap");
  const auto address = (reinterpret_cast<std::uintptr_t>(raw) + huge_page - 1) & ~(huge_page - 1);
  madvise(reinterpret_cast<void*>(address), bytes, MADV_HUGEPAGE);
  return reinterpret_cast<std::byte*>(address);
}

struct Piece {
  int descriptor;
  std::uint64_t offset;
  std::uint64_t target;  // in the memory
  std::uint32_t bytes;   // a multiple of 4096: the last one of a file reaches past its end
};

struct Shards {
  std::vector<Piece> pieces;
  std::uint64_t bytes = 0;         // of all files
  std::uint64_t memory_bytes = 0;  // each file rounded up to 4096
};

inline Shards open_shards(std::span<char*> paths, int flags, std::uint32_t piece_bytes) {
  Shards shards;
  for (const char* const path : paths) {
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | flags);
    struct stat status {};
    if (descriptor < 0 || fstat(descriptor, &status) != 0) fail(path);
    const auto size = static_cast<std::uint64_t>(status.st_size);
    const std::uint64_t rounded = (size + 4095) / 4096 * 4096;
    for (std::uint64_t at = 0; at < rounded; at += piece_bytes) {
      const auto bytes = static_cast<std::uint32_t>(std::min<std::uint64_t>(piece_bytes, rounded - at));
      shards.pieces.push_back({descriptor, at, shards.memory_bytes + at, bytes});
    }
    shards.bytes += size;
    shards.memory_bytes += rounded;
  }
  return shards;
}

/// Of this program alone: ru_maxrss would include the process that started it.
inline std::uint64_t peak_resident_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string key; status >> key;) {
    std::uint64_t kib = 0;
    if (key == "VmHWM:" && status >> kib) return kib * 1024;
  }
  return 0;
}

/// Runs from the first line of main() to the last byte in memory.
class Stopwatch {
 public:
  void print(std::uint64_t bytes) const {
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start_;
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto in_seconds = [](timeval time) {
      return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    fmt::print("{{\"bytes\": {}, \"seconds\": {}, \"cpu_seconds\": {}, \"peak_resident_bytes\": {}}}\n", bytes,
               seconds.count(), in_seconds(usage.ru_utime) + in_seconds(usage.ru_stime), peak_resident_bytes());
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace contender
