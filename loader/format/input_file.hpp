// InputFile: a shard or an index, open for reading. Anything but a regular file is refused without being opened.
// Checkpoint::open makes them and reads headers through them. Safe to read from several threads.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>

#include "sluice/error.hpp"

namespace sluice {

/// Says why `what` ("shard", "index") at `path` cannot be opened: an errno, as an Error{not_found, io}.
Error refusal_to_open(const std::filesystem::path& path, const char* what, int error);

/// Reads [offset, offset + bytes) of an open file whole. Throws Error{io, file_changed}.
void read_range(int descriptor, const std::filesystem::path& path, char* target, std::uint64_t offset,
                std::uint64_t bytes);

class InputFile {
 public:
  /// Throws Error{not_found, io}; `what` says what should be there: "shard", "index".
  InputFile(const std::filesystem::path& path, const char* what);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  int descriptor() const noexcept { return descriptor_; }
  const struct stat& status() const noexcept { return status_; }
  std::uint64_t bytes() const noexcept { return static_cast<std::uint64_t>(status_.st_size); }

  /// Reads [offset, offset + bytes) whole. Throws Error{io, file_changed}.
  void read(char* target, std::uint64_t offset, std::uint64_t bytes) const {
    read_range(descriptor_, path_, target, offset, bytes);
  }

 private:
  [[noreturn]] void refuse_kind(const char* what) const;

  std::filesystem::path path_;
  int descriptor_ = -1;
  struct stat status_ {};
};

}  // namespace sluice
