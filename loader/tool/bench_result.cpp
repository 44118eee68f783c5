#include "loader/tool/bench_result.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace sluice::tool {

namespace {

/// The median of what `value` gives of each start.
template <typename Value>
double median_of(const std::vector<Start>& starts, Value value) {
  std::vector<double> values;
  values.reserve(starts.size());
  for (const Start& start : starts) values.push_back(static_cast<double>(value(start)));
  return spread_of(std::move(values)).median;
}

/// `summary`: of these starts, all of it but what follows from the evidence.
Evidence evidence_of(const BenchResult& result, const std::vector<Start>& starts, const Summary& summary) {
  const bool cold = &starts == &result.cold;
  Evidence evidence;
  evidence.seconds = summary.seconds.median;
  evidence.phases = {{"open", summary.open_seconds},
                     {"plan", summary.plan_seconds},
                     {"start-up", summary.start_up_seconds},
                     {"load", summary.load_seconds}};
  // Of a cold start all bytes come from storage, whichever way. Of a warm one only those that were asked of it.
  const auto from_storage = [&](const Start& start) { return cold ? start.bytes : start.direct_bytes; };
  evidence.storage_bytes = static_cast<std::uint64_t>(median_of(starts, from_storage));
  evidence.cached_bytes = static_cast<std::uint64_t>(
      median_of(starts, [&](const Start& start) { return start.bytes - from_storage(start); }));
  if (const BenchResult::OfSetting* const best = best_setting(result)) {
    evidence.storage_bytes_per_second = spread_of(best->bytes_per_second).median;
  }
  evidence.cache_bytes_per_second = spread_of(result.cache_bytes_per_second).median;
  evidence.cache_into_fresh_memory = result.cache_into_fresh_memory;
  evidence.fresh_bytes = result.load.fresh_bytes;
  evidence.fresh_bytes_per_second = spread_of(result.fresh_bytes_per_second).median;
  for (std::size_t i = 0; i < result.load.links.size(); ++i) {
    evidence.links.push_back({result.load.links[i].device, result.load.links[i].bytes, link_rate(result, i)});
  }
  evidence.driver_seconds = spread_of(driver_seconds(result)).median;
  evidence.cpu_seconds = median_of(starts, [](const Start& start) { return start.cpu_seconds; });
  evidence.casts = result.load.casts;
  evidence.processors = result.machine.processors;
  evidence.threads = result.threads;
  evidence.others_share = result.others_share;
  return evidence;
}

}  // namespace

Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  const double median = values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {median, values.front(), values.back()};
}

const BenchResult::OfSetting* best_setting(const BenchResult& result) noexcept {
  const BenchResult::OfSetting* best = nullptr;
  double most = 0;
  for (const BenchResult::OfSetting& one : result.storage) {
    const double rate = spread_of(one.bytes_per_second).median;
    if (rate <= most) continue;
    most = rate;
    best = &one;
  }
  return best;
}

std::vector<double> link_rates(const BenchResult& result, std::size_t device) {
  std::vector<double> rates;
  for (const LinkSample& sample : result.links) {
    if (device < sample.devices.size()) rates.push_back(sample.devices[device].bytes_per_second);
  }
  return rates;
}

double link_rate(const BenchResult& result, std::size_t device) {
  return spread_of(link_rates(result, device)).median;
}

std::vector<double> driver_seconds(const BenchResult& result) {
  std::vector<double> seconds;
  seconds.reserve(result.links.size());
  for (const LinkSample& sample : result.links) seconds.push_back(sample.driver_seconds);
  return seconds;
}

Summary summarise(const BenchResult& result, const std::vector<Start>& starts) {
  Summary summary;
  std::vector<double> seconds;
  std::vector<double> process_seconds;
  for (const Start& start : starts) {
    seconds.push_back(start.seconds);
    process_seconds.push_back(start.process_seconds);
    summary.peak_resident_bytes = std::max(summary.peak_resident_bytes, start.peak_resident_bytes);
    summary.peak_staging_bytes = std::max(summary.peak_staging_bytes, start.peak_staging_bytes);
  }
  summary.seconds = spread_of(std::move(seconds));
  summary.process_seconds = spread_of(std::move(process_seconds));
  summary.gb_per_s = median_of(starts, [](const Start& start) { return start.gb_per_s(); });
  summary.open_seconds = median_of(starts, [](const Start& start) { return start.open_seconds; });
  summary.plan_seconds = median_of(starts, [](const Start& start) { return start.plan_seconds; });
  summary.start_up_seconds = median_of(starts, [](const Start& start) { return start.start_up_seconds; });
  summary.load_seconds = median_of(starts, [](const Start& start) { return start.load_seconds; });
  summary.cpu_seconds_per_gb = median_of(starts, [](const Start& start) {
    return start.bytes > 0 ? start.cpu_seconds / (static_cast<double>(start.bytes) / 1e9) : 0;
  });
  summary.diagnosis = diagnose(evidence_of(result, starts, summary));
  if (summary.diagnosis.limit && summary.seconds.median > 0) {
    summary.share_of_limit = summary.diagnosis.limit->seconds / summary.seconds.median;
  }
  return summary;
}

}  // namespace sluice::tool
