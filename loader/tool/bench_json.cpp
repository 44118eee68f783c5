#include "loader/tool/bench_json.hpp"

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace sluice::tool {

namespace {

using Json = nlohmann::ordered_json;

Json in_gb_per_s(const std::vector<double>& bytes_per_second) {
  Json samples = Json::array();
  for (const double rate : bytes_per_second) samples.push_back(rate / 1e9);
  return samples;
}

Json as_json(const Spread& spread) {
  return Json{{"median", spread.median}, {"least", spread.least}, {"most", spread.most}};
}

Json machine_json(const Machine& machine) {
  return Json{{"cpu", machine.cpu},       {"processors", machine.processors},   {"memory_bytes", machine.memory_bytes},
              {"kernel", machine.kernel}, {"file_system", machine.file_system}, {"gpus", machine.gpus}};
}

Json storage_json(const BenchResult& result) {
  const BenchResult::OfSetting* const best = best_setting(result);
  if (best == nullptr) return nullptr;
  Json settings = Json::array();
  for (const BenchResult::OfSetting& one : result.storage) {
    settings.push_back(Json{{"request_bytes", one.setting.request_bytes},
                            {"depth", one.setting.depth},
                            {"gb_per_s", spread_of(one.bytes_per_second).median / 1e9},
                            {"samples", in_gb_per_s(one.bytes_per_second)}});
  }
  return Json{{"gb_per_s", spread_of(best->bytes_per_second).median / 1e9},
              {"best", {{"request_bytes", best->setting.request_bytes}, {"depth", best->setting.depth}}},
              {"reader", result.storage_reader},
              {"io", result.storage_is_direct ? "direct" : "buffered"},
              {"settings", std::move(settings)}};
}

Json rate_json(const std::vector<double>& samples, Json settings) {
  if (samples.empty()) return nullptr;
  return Json{{"gb_per_s", spread_of(samples).median / 1e9},
              {"settings", std::move(settings)},
              {"samples", in_gb_per_s(samples)}};
}

Json links_json(const BenchResult& result) {
  Json links = Json::array();
  if (result.links.empty()) return links;
  for (std::size_t i = 0; i < result.links.front().devices.size(); ++i) {
    links.push_back(rate_json(link_rates(result, i), Json{{"device", result.links.front().devices[i].device}}));
  }
  return links;
}

Json driver_json(const BenchResult& result) {
  if (result.links.empty()) return nullptr;
  const std::vector<double> samples = driver_seconds(result);
  return Json{{"seconds", spread_of(samples).median}, {"samples", samples}};
}

Json limits_json(const BenchResult& result) {
  return Json{
      {"storage", storage_json(result)},
      {"page_cache", rate_json(result.cache_bytes_per_second,
                               Json{{"threads", result.threads},
                                    {"into", result.cache_into_fresh_memory ? "fresh memory" : "reused slabs"}})},
      {"memory", rate_json(result.fresh_bytes_per_second, Json{{"threads", result.threads}})},
      {"links", links_json(result)},
      {"driver_start_up", driver_json(result)}};
}

Json start_json(const Start& start) {
  return Json{{"seconds", start.seconds},
              {"process_seconds", start.process_seconds},
              {"phases",
               {{"open", start.open_seconds},
                {"plan", start.plan_seconds},
                {"start-up", start.start_up_seconds},
                {"load", start.load_seconds}}},
              {"gb_per_s", start.gb_per_s()},
              {"bytes", start.bytes},
              {"delivered_bytes", start.delivered_bytes},
              {"direct_bytes", start.direct_bytes},
              {"cached_bytes_before", start.cached_bytes_before},
              {"cpu_seconds", start.cpu_seconds},
              {"process_cpu_seconds", start.process_cpu_seconds},
              {"reader", start.reader},
              {"io", start.io},
              {"peak_staging_bytes", start.peak_staging_bytes},
              {"peak_resident_bytes", start.peak_resident_bytes}};
}

Json bottleneck_json(const Diagnosis& diagnosis) {
  Json explained = Json::object();
  for (const Explanation& one : diagnosis.explanations) explained[std::string(name(one.resource))] = one.seconds;
  return Json{{"kind", diagnosis.bottleneck ? Json(name(*diagnosis.bottleneck)) : Json(nullptr)},
              {"sentence", diagnosis.sentence},
              {"explained_seconds", std::move(explained)}};
}

Json summary_json(const BenchResult& result, const std::vector<Start>& starts) {
  if (starts.empty()) return nullptr;
  const Summary summary = summarise(result, starts);
  const auto& limit = summary.diagnosis.limit;
  return Json{{"seconds", as_json(summary.seconds)},
              {"process_seconds", as_json(summary.process_seconds)},
              {"phases",
               {{"open", summary.open_seconds},
                {"plan", summary.plan_seconds},
                {"start-up", summary.start_up_seconds},
                {"load", summary.load_seconds}}},
              {"gb_per_s", summary.gb_per_s},
              {"limit", limit ? Json(name(limit->resource)) : Json(nullptr)},
              {"share_of_limit", limit ? Json(summary.share_of_limit) : Json(nullptr)},
              {"cpu_seconds_per_gb", summary.cpu_seconds_per_gb},
              {"peak_resident_bytes", summary.peak_resident_bytes},
              {"peak_staging_bytes", summary.peak_staging_bytes},
              {"bottleneck", bottleneck_json(summary.diagnosis)}};
}

std::string lines(const Json& value) {
  return value.dump(1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

void write_bench_json(Output& output, const BenchResult& result) {
  Json rounds = Json::array();
  for (std::size_t i = 0; i < std::max(result.cold.size(), result.warm.size()); ++i) {
    rounds.push_back(Json{{"cold", i < result.cold.size() ? start_json(result.cold[i]) : Json(nullptr)},
                          {"warm", i < result.warm.size() ? start_json(result.warm[i]) : Json(nullptr)}});
  }
  Json notes = Json::array();
  for (const Note& note : result.notes) notes.push_back(Json{{"what", note.what}, {"reason", note.reason}});
  const Json all{{"machine", machine_json(result.machine)},
                 {"checkpoint",
                  {{"path", result.checkpoint.path},
                   {"shards", result.checkpoint.shards},
                   {"tensors", result.checkpoint.tensors},
                   {"bytes", result.checkpoint.bytes}}},
                 {"devices", result.load.devices},
                 {"limits", limits_json(result)},
                 {"rounds", std::move(rounds)},
                 {"cold", summary_json(result, result.cold)},
                 {"warm", summary_json(result, result.warm)},
                 {"others_cpu_share", result.others_share},
                 {"notes", std::move(notes)}};
  output.print("{}\n", lines(all));
}

void write_link_json(Output& output, const LinkSample& sample) {
  Json devices = Json::array();
  for (const LinkSample::OfDevice& device : sample.devices) {
    devices.push_back(Json{
        {"device", device.device}, {"description", device.description}, {"bytes_per_second", device.bytes_per_second}});
  }
  output.print("{}\n", lines(Json{{"driver_seconds", sample.driver_seconds}, {"devices", std::move(devices)}}));
}

}  // namespace sluice::tool
