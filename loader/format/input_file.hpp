// InputFile: a regular file of a checkpoint, open for reading: a shard or an index. Never blocks on what only looks
// like one. Checkpoint::open makes them and reads headers through them. Safe to read from several threads.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>

namespace sluice {

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
  void read(char* target, std::uint64_t offset, std::uint64_t bytes) const;

 private:
  [[noreturn]] void refuse_to_open(const char* what, int error) const;
  [[noreturn]] void refuse_kind(const char* what) const;

  std::filesystem::path path_;
  int descriptor_ = -1;
  struct stat status_ {};
};

}  // namespace sluice
