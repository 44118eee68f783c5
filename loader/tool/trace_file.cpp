#include "loader/tool/trace_file.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "loader/tool/output.hpp"

namespace sluice::tool {
namespace {

using Json = nlohmann::ordered_json;

constexpr int process = 1;

// What every trace of ours begins with, and few other files do. A number follows.
constexpr std::string_view first_bytes = "{\"otherData\":{\"origin_ns\":";

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
                                 [&](const Thread& candidate) { return candidate.end_ns <= span->begin_ns; });
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

// It ends a nanosecond early. A viewer that cuts both numbers off to whole nanoseconds would otherwise now and then see
// it overlap the next span, and leave that out.
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

TraceFile::TraceFile(std::filesystem::path path) : file_(std::move(path), std::string(first_bytes)) {}

void TraceFile::write(const Trace& trace, const std::function<void()>& check) {
  Output& output = file_.begin();
  std::int64_t origin_ns = trace.spans.empty() ? 0 : trace.spans.front().begin_ns;
  for (const Span& span : trace.spans) origin_ns = std::min(origin_ns, span.begin_ns);
  output.print("{}{},\"dropped\":{}}},\n\"traceEvents\":[\n", first_bytes, origin_ns, trace.dropped);
  output.write(metadata("process_name", 0, {{"name", "sluice"}}).dump());
  const std::vector<Thread> threads = spread(trace);
  for (std::size_t i = 0; i < threads.size(); ++i) {
    output.print(",\n{},\n{}", metadata("thread_name", i + 1, {{"name", threads[i].name}}).dump(),
                 metadata("thread_sort_index", i + 1, {{"sort_index", i + 1}}).dump());
    for (const Span* span : threads[i].spans) {
      check();
      output.print(",\n{}", event(*span, i + 1, origin_ns).dump());
    }
  }
  output.write("\n]}\n");
  file_.finish();
}

}  // namespace sluice::tool
