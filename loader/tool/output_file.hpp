// OutputFile: a file that a command writes, whole or not at all: what is written goes into a file beside it, which
// takes its place at the end. It replaces only what it may: an empty file, or one of the same kind as what it writes.
// Any other file, a shard of the checkpoint among them, is refused before any work is done. A link stays: the file that
// it leads to is replaced, which keeps its permissions. What cannot be replaced (a pipe, a device, a mount point,
// standard output) is written in place. Threads: any, one at a time.
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <optional>
#include <string>

#include "loader/tool/output.hpp"

namespace sluice::tool {

class OutputFile {
 public:
  /// A file that exists must be empty or begin with `beginning`, as what will be written does. Nothing is left in the
  /// folder until begin(). Throws OutputError where the file may not be replaced or cannot be written.
  OutputFile(std::filesystem::path path, std::string beginning);
  /// Without a finish(), removes what begin() made.
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// Where to write. Once. Throws OutputError.
  Output& begin();
  /// Puts what was written in its place. REQUIRES: begin() was called. Throws OutputError.
  void finish();

 private:
  void check_replaceable() const;
  int open_beside();

  const std::filesystem::path path_;  // as the user gave it, for messages
  const std::string beginning_;
  std::filesystem::path target_;  // what `path_` leads to through links
  std::filesystem::path beside_;  // exists while it is not empty
  int descriptor_ = -1;           // where output_ writes
  bool in_place_ = false;
  std::optional<Output> output_;
};

}  // namespace sluice::tool
