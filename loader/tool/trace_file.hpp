// TraceFile: the file that --trace names, in the JSON form of Chrome's trace events, which Perfetto (ui.perfetto.dev),
// chrome://tracing and speedscope open. Each row of the trace is shown as a thread. Spans of one thread must not
// overlap, so a row whose spans do (reads in flight, workers) is spread over as many threads as it needs: "reader",
// "reader 2"... Threads: any, one at a time.
#pragma once

#include <filesystem>
#include <functional>

#include "loader/tool/output_file.hpp"
#include "sluice/trace.hpp"

namespace sluice::tool {

class TraceFile {
 public:
  /// Only an earlier trace or an empty file is replaced. Throws OutputError where the file cannot be written, so that
  /// this is known before any work is done.
  explicit TraceFile(std::filesystem::path path);

  /// Puts the trace in the file's place. Once. Calls `check` every now and then; if that throws, the file stays as it
  /// was. Throws OutputError.
  void write(const Trace& trace, const std::function<void()>& check);

 private:
  OutputFile file_;
};

}  // namespace sluice::tool
