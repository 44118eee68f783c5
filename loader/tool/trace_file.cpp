#include "loader/tool/trace_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "loader/tool/output.hpp"

namespace sluice::tool {
namespace {

using Json = nlohmann::ordered_json;

constexpr int process = 1;

/// Which spans a thread of the file shows, in order of their beginning.
struct Thread {
  std::string name;
  std::int64_t end_ns = 0;  // of the last
  std::vector<const Span*> spans;
};

std::vector<Thread> spread(const Trace& trace) {
  std::vector<std::vector<const Span*>> rows(trace.rows.size());
  for (const Span& span : trace.spans) rows[span.row].push_back(&span);
  std::vector<Thread> threads;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    std::sort(rows[row].begin(), rows[row].end(), [](const Span* left, const Span* right) {
      return std::tie(left->begin_ns, left->end_ns) < std::tie(right->begin_ns, right->end_ns);
    });
    const auto first = static_cast<std::ptrdiff_t>(threads.size());
    for (const Span* span : rows[row]) {
      auto thread = std::find_if(threads.begin() + first, threads.end(),
                                 [&](const Thread& its) { return its.end_ns <= span->begin_ns; });
      if (thread == threads.end()) {
        const auto number = threads.size() - static_cast<std::size_t>(first) + 1;
        threads.push_back({number == 1 ? trace.rows[row] : fmt::format("{} {}", trace.rows[row], number), 0, {}});
        thread = threads.end() - 1;
      }
      thread->end_ns = span->end_ns;
      thread->spans.push_back(span);
    }
  }
  return threads;
}

double microseconds(std::int64_t nanoseconds) {
  return static_cast<double>(nanoseconds) / 1e3;
}

Json metadata(const char* what, std::size_t thread, Json arguments) {
  return Json{{"ph", "M"}, {"pid", process}, {"tid", thread}, {"name", what}, {"args", std::move(arguments)}};
}

// It ends a nanosecond early: a reader that makes whole nanoseconds of both numbers by cutting off would else now and
// then see it overlap the next one, and leave that out.
Json event(const Span& span, std::size_t thread, std::int64_t origin_ns) {
  Json arguments = Json::object();
  if (span.extent != Span::no_extent) arguments["extent"] = span.extent;
  if (span.tensors != 0) arguments["tensors"] = span.tensors;
  if (span.bytes != 0) arguments["bytes"] = span.bytes;
  return Json{{"ph", "X"},
              {"pid", process},
              {"tid", thread},
              {"name", name(span.what)},
              {"cat", "sluice"},
              {"ts", microseconds(span.begin_ns - origin_ns)},
              {"dur", microseconds(std::max<std::int64_t>(span.end_ns - span.begin_ns - 1, 0))},
              {"args", std::move(arguments)}};
}

}  // namespace

TraceFile::TraceFile(std::filesystem::path path) : path_(std::move(path)) {
  constexpr mode_t mode = 0666;
  descriptor_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  made_ = descriptor_ >= 0;
  if (!made_ && errno == EEXIST) descriptor_ = open(path_.c_str(), O_WRONLY | O_CLOEXEC);
  if (descriptor_ < 0) refuse_output(path_.native(), errno);
}

TraceFile::~TraceFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (made_) unlink(path_.c_str());
}

void TraceFile::write(const Trace& trace) {
  struct stat status {};
  const bool is_file = fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode);  // not a pipe, which has no length
  if (is_file && ftruncate(descriptor_, 0) != 0) refuse_output(path_.native(), errno);
  Output output(descriptor_, path_.native());

  std::int64_t origin_ns = trace.spans.empty() ? 0 : trace.spans.front().begin_ns;
  for (const Span& span : trace.spans) origin_ns = std::min(origin_ns, span.begin_ns);
  output.print("{{\"otherData\":{},\n\"traceEvents\":[\n",
               Json{{"origin_ns", origin_ns}, {"dropped", trace.dropped}}.dump());
  output.write(metadata("process_name", 0, {{"name", "sluice"}}).dump());
  const std::vector<Thread> threads = spread(trace);
  for (std::size_t i = 0; i < threads.size(); ++i) {
    output.print(",\n{},\n{}", metadata("thread_name", i + 1, {{"name", threads[i].name}}).dump(),
                 metadata("thread_sort_index", i + 1, {{"sort_index", i + 1}}).dump());
    for (const Span* span : threads[i].spans) output.print(",\n{}", event(*span, i + 1, origin_ns).dump());
  }
  output.write("\n]}\n");
  descriptor_ = -1;  // finish() closes it
  output.finish();
  made_ = false;
}

}  // namespace sluice::tool
