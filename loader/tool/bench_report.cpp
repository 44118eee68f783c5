#include "loader/tool/bench_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "loader/tool/text.hpp"

namespace sluice::tool {

namespace {

// Four digits, however slow: 25.13 and 0.0203.
std::string rate_text(double bytes_per_second) {
  const double rate = bytes_per_second / 1e9;
  return rate >= 1 ? fmt::format("{:.2f}", rate) : fmt::format("{:.3g}", rate);
}

void limit_row(Output& output, std::string_view limit, const std::vector<double>& samples, std::string_view how) {
  const Spread spread = spread_of(samples);
  output.print("  {:<26}  {:>7}  {:>16}  {}\n", escaped(limit), rate_text(spread.median),
               fmt::format("{} to {}", rate_text(spread.least), rate_text(spread.most)), how);
}

void report_limits(Output& output, const BenchResult& result) {
  output.print("\n  {:<26}  {:>7}  {:>16}\n", "limit of the machine", "GB/s", "least to most");
  if (const BenchResult::OfSetting* const best = best_setting(result)) {
    limit_row(output, fmt::format("storage, {} x {}", binary_size(best->setting.request_bytes), best->setting.depth),
              best->bytes_per_second,
              fmt::format("{}, {}; the best of {}", result.storage_is_direct ? "direct" : "buffered",
                          result.storage_reader, count(result.storage.size(), "setting")));
  }
  const std::string threads = count(result.threads, "thread");
  if (!result.cache_bytes_per_second.empty()) {
    limit_row(output, "page cache", result.cache_bytes_per_second,
              fmt::format("{}, into {}", threads, result.cache_into_fresh_memory ? "fresh memory" : "reused slabs"));
  }
  if (!result.fresh_bytes_per_second.empty()) {
    limit_row(output, "fresh memory", result.fresh_bytes_per_second, fmt::format("{}, in huge pages", threads));
  }
  if (result.links.empty()) return;
  for (std::size_t i = 0; i < result.links.front().devices.size(); ++i) {
    limit_row(output, "link to " + result.links.front().devices[i].device, link_rates(result, i),
              "copies of pinned memory");
  }
  const Spread spread = spread_of(driver_seconds(result));
  output.print("  {:<26}  {:>7}  {:>16}\n", "driver start-up", duration(spread.median),
               fmt::format("{} to {}", duration(spread.least), duration(spread.most)));
}

void start_row(Output& output, const char* kind, const Summary& summary) {
  const std::string limit = summary.diagnosis.limit ? fmt::format("{:.0f} % {}", 100 * summary.share_of_limit,
                                                                  name(summary.diagnosis.limit->resource))
                                                    : "";
  output.print(
      "  {:<5}  {:>8}  {:>20}  {:>6}  {:>13}  {:>8}  {:>8.3f}  {:>9}  {:>9}\n", kind, duration(summary.seconds.median),
      fmt::format("{} to {}", duration(summary.seconds.least), duration(summary.seconds.most)),
      rate_text(summary.gb_per_s * 1e9), limit, duration(summary.process_seconds.median), summary.cpu_seconds_per_gb,
      binary_size(summary.peak_resident_bytes), binary_size(summary.peak_staging_bytes));
}

void phase_row(Output& output, const char* kind, const Summary& summary) {
  output.print("  {:<5}  {:>8}  {:>8}  {:>8}  {:>8}\n", kind, duration(summary.open_seconds),
               duration(summary.plan_seconds), duration(summary.start_up_seconds), duration(summary.load_seconds));
}

}  // namespace

void report_bench(Output& output, const BenchResult& result) {
  output.print("{}: {} in {}, {} to read, onto {}\n{}; medians of {}\n", escaped(result.checkpoint.path),
               count(result.checkpoint.tensors, "tensor"), count(result.checkpoint.shards, "shard"),
               decimal_size(result.load.read_bytes), fmt::join(result.load.devices, ","),
               escaped(describe(result.machine)), count(std::max(result.cold.size(), result.warm.size()), "round"));
  report_limits(output, result);

  struct Kind {
    const char* name;
    Summary summary;
  };
  std::vector<Kind> kinds;
  if (!result.cold.empty()) kinds.push_back({"cold", summarise(result, result.cold)});
  if (!result.warm.empty()) kinds.push_back({"warm", summarise(result, result.warm)});
  output.print("\n  {:<5}  {:>8}  {:>20}  {:>6}  {:>13}  {:>8}  {:>8}  {:>9}  {:>9}\n", "start", "seconds",
               "least to most", "GB/s", "of the limit", "process", "CPU s/GB", "resident", "staging");
  for (const Kind& kind : kinds) start_row(output, kind.name, kind.summary);
  output.print("\n  {:<5}  {:>8}  {:>8}  {:>8}  {:>8}\n", "phase", "open", "plan", "start-up", "load");
  for (const Kind& kind : kinds) phase_row(output, kind.name, kind.summary);
  output.write("\n");
  for (const Kind& kind : kinds) output.print("{}: {}\n", kind.name, escaped(kind.summary.diagnosis.sentence));
  for (const Note& note : result.notes) output.print("{}: {}\n", escaped(note.what), escaped(note.reason));
}

}  // namespace sluice::tool
