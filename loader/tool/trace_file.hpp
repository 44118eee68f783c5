// TraceFile: the file that --trace names, in the JSON form of Chrome's trace events, which Perfetto (ui.perfetto.dev),
// chrome://tracing and speedscope open. Each row of the trace is shown as a thread. Spans of one thread must not
// overlap, so a row whose spans do (reads in flight, workers) is spread over as many threads as it needs: "reader",
// "reader 2"... Threads: any, one at a time.
#pragma once

#include <filesystem>

#include "sluice/trace.hpp"

namespace sluice::tool {

class TraceFile {
 public:
  /// Makes the file where there is none, so that a path that cannot be written is known before any work is done. Throws
  /// OutputError.
  explicit TraceFile(std::filesystem::path path);
  /// Removes a file that it made and that is not complete.
  ~TraceFile();
  TraceFile(const TraceFile&) = delete;
  TraceFile& operator=(const TraceFile&) = delete;

  /// Replaces what the file holds. Once. Throws OutputError.
  void write(const Trace& trace);

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  bool made_ = false;
};

}  // namespace sluice::tool
