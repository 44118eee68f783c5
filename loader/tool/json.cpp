#include "loader/tool/json.hpp"

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "loader/base/memory.hpp"
#include "loader/tool/report.hpp"

namespace sluice::tool {

namespace {

using Json = nlohmann::ordered_json;

std::string line(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// One element a line: whole lists of 300,000 tensors need no tree in memory, and a person can read them too.
template <typename Items, typename ToJson>
void write_list(Output& output, std::string_view key, const Items& items, ToJson&& to_json) {
  output.print("{}:[", line(Json(key)));
  for (std::size_t index = 0; index < items.size(); ++index) {
    output.write(index == 0 ? "\n" : ",\n");
    output.write(line(to_json(index)));
  }
  output.write(items.empty() ? "]" : "\n]");
}

Json described(std::string_view name_of_tensor, Dtype dtype, std::span<const std::uint64_t> shape,
               std::uint64_t bytes) {
  return Json{{"name", name_of_tensor},
              {"dtype", name(dtype)},
              {"shape", std::vector<std::uint64_t>(shape.begin(), shape.end())},
              {"bytes", bytes}};
}

Json origins_of(const Origins& origins, const Tensor& tensor) {
  Json all = Json::array();
  for (const rules::Piece& piece : origins.of(tensor)) {
    all.push_back(Json{
        {"tensor", origins.tensor_of(piece)}, {"slice", origins.from(piece)}, {"into", Origins::into(piece, tensor)}});
  }
  return all;
}

void write_object(Output& output, std::span<const Tensor> tensors, std::span<const std::string> digests,
                  const Json& stats, const Origins* origins) {
  output.write("{");
  write_list(output, "tensors", tensors, [&](std::size_t index) {
    const Tensor& tensor = tensors[index];
    Json object = described(tensor.name, tensor.dtype, tensor.shape, tensor.bytes);
    object["device"] = name(tensor.device);
    if (!digests.empty()) object["digest"] = digests[index];
    if (origins != nullptr) {
      object["group"] = tensor.group.number;
      object["from"] = origins_of(*origins, tensor);
    }
    return object;
  });
  output.print(",\n\"stats\":{}}}\n", line(stats));
}

}  // namespace

void write_inspect_json(Output& output, std::span<const TensorInfo> tensors, std::span<const std::string> shards) {
  output.write("{");
  write_list(output, "tensors", tensors, [&](std::size_t index) {
    const TensorInfo& tensor = tensors[index];
    Json object = described(tensor.name, tensor.dtype, tensor.shape, tensor.bytes);
    object["shard"] = shards[tensor.shard];
    object["offset"] = tensor.offset;
    return object;
  });
  output.write("}\n");
}

void write_load_json(Output& output, std::span<const Tensor> tensors, std::span<const std::string> digests,
                     const Stats& stats, const Origins* origins) {
  Json fallbacks = Json::array();
  for (const Fallback& fallback : stats.fallbacks) {
    fallbacks.push_back(Json{{"what", fallback.what}, {"reason", fallback.reason}});
  }
  write_object(output, tensors, digests,
               Json{{"bytes", stats.bytes},
                    {"delivered_bytes", stats.delivered_bytes},
                    {"seconds", stats.seconds},
                    {"phases",
                     {{"open", stats.open_seconds},
                      {"plan", stats.plan_seconds},
                      {phase_start_up, stats.start_up_seconds},
                      {"load", stats.load_seconds}}},
                    {"gb_per_s", stats.gb_per_s()},
                    {"cpu_seconds", stats.cpu_seconds},
                    {"reader", name(stats.reader)},
                    {"io", stats.io()},
                    {"direct_bytes", stats.direct_bytes},
                    {"window",
                     {{"bytes", stats.window_bytes},
                      {"gb_per_s", stats.window_bytes_per_second / 1e9},
                      {"latency_seconds", stats.read_latency_seconds}}},
                    {"fallbacks", fallbacks},
                    {"extents", stats.extents},
                    {"copies", stats.copies},
                    {"launches", stats.launches},
                    {"peak_staging_bytes", stats.peak_staging_bytes},
                    {"peak_resident_bytes", stats.peak_resident_bytes}},
               origins);
}

void write_plan_json(Output& output, const Checkpoint& checkpoint, const Plan& plan, const Options& options,
                     const Origins* origins) {
  const PlanCosts& costs = plan.costs();
  const Json unknown = nullptr;
  // Which reader runs and which bytes are cached shows when they are read, unless the caller has settled it.
  const bool reader_is_settled = options.reader != ReaderKind::automatic;
  const bool io_is_settled = options.io != IoMode::automatic;
  write_object(output, plan.tensors(), {},
               Json{{"bytes", costs.read_bytes},
                    {"delivered_bytes", costs.delivered_bytes},
                    {"seconds", unknown},
                    {"phases",
                     {{"open", checkpoint.open_seconds()},
                      {"plan", plan.seconds()},
                      {phase_start_up, unknown},
                      {"load", unknown}}},
                    {"gb_per_s", unknown},
                    {"cpu_seconds", unknown},
                    {"reader", reader_is_settled ? Json(name(options.reader)) : unknown},
                    {"io", io_is_settled ? Json(name(options.io)) : unknown},
                    {"direct_bytes", options.io == IoMode::buffered ? Json(0) : unknown},
                    {"window", unknown},
                    {"fallbacks", Json::array()},
                    {"extents", costs.extents},
                    {"copies", costs.copies},
                    {"launches", costs.launches},
                    {"peak_staging_bytes", costs.staging_bytes},
                    {"peak_resident_bytes", peak_resident_bytes() + held_host_bytes(costs)}},
               origins);
}

void write_doctor_json(Output& output, std::span<const Check> checks) {
  output.write("{");
  write_list(output, "checks", checks, [&](std::size_t index) {
    const Check& check = checks[index];
    return Json{{"name", check.name},
                {"status", name(check.status)},
                {"finding", check.finding},
                {"advice", check.advice.empty() ? Json(nullptr) : Json(check.advice)}};
  });
  output.write("}\n");
}

}  // namespace sluice::tool
