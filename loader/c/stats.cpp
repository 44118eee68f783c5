// Statistics and traces of sluice.h.
#include "sluice/stats.hpp"

#include <algorithm>
#include <memory>
#include <mutex>

#include "loader/c/border.hpp"
#include "loader/c/handles.hpp"
#include "sluice/sluice.h"
#include "sluice/trace.hpp"

using namespace sluice::border;

static_assert(SLUICE_SPAN_WAIT == static_cast<int>(sluice::Span::What::wait));
static_assert(SLUICE_NO_EXTENT == sluice::Span::no_extent);

int sluice_load_statistics(const sluice_load* load, sluice_stats* stats, sluice_error** error) {
  return run(error, [&] {
    const sluice::Stats now = required(load, "load").load.statistics();
    auto known = SLUICE_INIT(sluice_stats);
    known.reader = static_cast<std::uint32_t>(now.reader);
    known.fallbacks = static_cast<std::uint32_t>(now.fallbacks.size());
    known.bytes = now.bytes;
    known.delivered_bytes = now.delivered_bytes;
    known.seconds = now.seconds;
    known.cpu_seconds = now.cpu_seconds;
    known.open_seconds = now.open_seconds;
    known.plan_seconds = now.plan_seconds;
    known.start_up_seconds = now.start_up_seconds;
    known.load_seconds = now.load_seconds;
    known.devices_seconds = now.devices_seconds;
    known.lanes_seconds = now.lanes_seconds;
    known.pinning_seconds = now.pinning_seconds;
    known.direct_bytes = now.direct_bytes;
    known.extents = now.extents;
    known.copies = now.copies;
    known.launches = now.launches;
    known.peak_staging_bytes = now.peak_staging_bytes;
    known.peak_arena_bytes = now.peak_arena_bytes;
    known.window_bytes = now.window_bytes;
    known.window_bytes_per_second = now.window_bytes_per_second;
    known.read_latency_seconds = now.read_latency_seconds;
    known.peak_resident_bytes = now.peak_resident_bytes;
    give(known, stats, "stats");
  });
}

int sluice_load_fallback(const sluice_load* load, std::uint32_t index, sluice_string* what, sluice_string* reason,
                         sluice_error** error) {
  return run(error, [&] {
    const sluice_load& of = required(load, "load");
    const std::vector<sluice::Fallback> now = of.load.statistics().fallbacks;
    check_index(index, now.size(), "index");
    sluice_string& what_out = required(what, "what");
    sluice_string& reason_out = required(reason, "reason");
    // The same one may be asked for again, and may meanwhile have another place in the list.
    const std::lock_guard lock(of.mutex);
    auto told = std::find_if(of.told.begin(), of.told.end(), [&](const sluice::Fallback& one) {
      return one.what == now[index].what && one.reason == now[index].reason;
    });
    if (told == of.told.end()) told = of.told.insert(told, now[index]);
    what_out = string(told->what);
    reason_out = string(told->reason);
  });
}

int sluice_load_trace(const sluice_load* load, sluice_trace** trace, sluice_error** error) {
  return make(trace, "trace", error,
              [&] { return std::make_unique<sluice_trace>(sluice_trace{required(load, "load").load.trace()}); });
}
void sluice_trace_free(sluice_trace* trace) {
  delete trace;
}
int sluice_trace_count(const sluice_trace* trace, std::uint32_t* rows, std::uint64_t* spans, std::uint64_t* dropped,
                       sluice_error** error) {
  return run(error, [&] {
    const sluice::Trace& kept = required(trace, "trace").trace;
    if (rows != nullptr) *rows = static_cast<std::uint32_t>(kept.rows.size());
    if (spans != nullptr) *spans = kept.spans.size();
    if (dropped != nullptr) *dropped = kept.dropped;
  });
}
int sluice_trace_row(const sluice_trace* trace, std::uint32_t index, sluice_string* name, sluice_error** error) {
  return run(error, [&] {
    const auto& rows = required(trace, "trace").trace.rows;
    check_index(index, rows.size(), "index");
    required(name, "name") = string(rows[index]);
  });
}
int sluice_trace_span(const sluice_trace* trace, std::uint64_t index, sluice_span* span, sluice_error** error) {
  return run(error, [&] {
    const auto& spans = required(trace, "trace").trace.spans;
    check_index(index, spans.size(), "index");
    const sluice::Span& one = spans[index];
    auto known = SLUICE_INIT(sluice_span);
    known.kind = static_cast<std::uint32_t>(one.what);
    known.row = one.row;
    known.extent = one.extent;
    known.tensors = one.tensors;
    known.bytes = one.bytes;
    known.begin_ns = one.begin_ns;
    known.end_ns = one.end_ns;
    give(known, span, "span");
  });
}
const char* sluice_span_name(std::uint32_t kind) {
  return kind > SLUICE_SPAN_WAIT ? nullptr : sluice::name(static_cast<sluice::Span::What>(kind)).data();
}
