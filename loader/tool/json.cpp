#include "loader/tool/json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "loader/base/memory.hpp"
#include "loader/tool/report.hpp"

namespace sluice::tool {

namespace {

using Json = nlohmann::ordered_json;

std::string line(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void append_string(std::string& target, std::string_view text) {
  const bool plain = std::all_of(text.begin(), text.end(), [](char byte) {
    return byte >= ' ' && static_cast<unsigned char>(byte) < 0x80 && byte != '"' && byte != '\\';
  });
  if (!plain) {
    target += line(Json(text));
    return;
  }
  target += '"';
  target += text;
  target += '"';
}

void append_number(std::string& target, std::uint64_t number) {
  const fmt::format_int digits(number);
  target.append(digits.data(), digits.size());
}

// An object behind `text`. Trees of the JSON library allocate ten times for each of 300,000 tensors. Keys are plain.
class Object {
 public:
  explicit Object(std::string& text) : text_(text) { text_ += '{'; }

  void add(std::string_view key, std::string_view value) { append_string(begin(key), value); }
  void add(std::string_view key, std::uint64_t value) { append_number(begin(key), value); }
  void add_json(std::string_view key, std::string_view value) { begin(key) += value; }
  /// `append(text, index)` appends each.
  template <typename Append>
  void add_list(std::string_view key, std::size_t count, Append&& append) {
    begin(key) += '[';
    for (std::size_t index = 0; index < count; ++index) {
      if (index > 0) text_ += ',';
      append(text_, index);
    }
    text_ += ']';
  }
  void end() { text_ += '}'; }

 private:
  std::string& begin(std::string_view key) {
    text_ += is_empty_ ? "\"" : ",\"";
    text_ += key;
    text_ += "\":";
    is_empty_ = false;
    return text_;
  }

  std::string& text_;
  bool is_empty_ = true;
};

// One element a line: whole lists of 300,000 tensors need not be in memory, and a person can read them too.
template <typename Items, typename AddTo>
void write_list(Output& output, std::string_view key, const Items& items, AddTo&& add_to) {
  output.print("\"{}\":[", key);
  std::string text;
  for (std::size_t index = 0; index < items.size(); ++index) {
    text = index == 0 ? "\n" : ",\n";
    Object object(text);
    add_to(object, index);
    object.end();
    output.write(text);
  }
  output.write(items.empty() ? "]" : "\n]");
}

void describe(Object& object, std::string_view name_of_tensor, Dtype dtype, std::span<const std::uint64_t> shape,
              std::uint64_t bytes) {
  object.add("name", name_of_tensor);
  object.add("dtype", name(dtype));
  object.add_list("shape", shape.size(),
                  [&](std::string& text, std::size_t dimension) { append_number(text, shape[dimension]); });
  object.add("bytes", bytes);
}

void add_origins(Object& object, const Origins& origins, const Tensor& tensor) {
  const std::span<const rules::Piece> pieces = origins.of(tensor);
  object.add_list("from", pieces.size(), [&](std::string& text, std::size_t index) {
    Object piece(text);
    piece.add("tensor", origins.tensor_of(pieces[index]));
    piece.add("slice", origins.from(pieces[index]));
    piece.add("into", Origins::into(pieces[index], tensor));
    piece.end();
  });
}

void write_object(Output& output, std::span<const Tensor> tensors, std::span<const std::string> digests,
                  const Json& stats, const Origins* origins) {
  output.write("{");
  write_list(output, "tensors", tensors, [&](Object& object, std::size_t index) {
    const Tensor& tensor = tensors[index];
    describe(object, tensor.name, tensor.dtype, tensor.shape, tensor.bytes);
    object.add("device", name(tensor.device));
    if (!digests.empty()) object.add("digest", digests[index]);
    if (origins != nullptr) {
      object.add("group", tensor.group.number);
      add_origins(object, *origins, tensor);
    }
  });
  output.print(",\n\"stats\":{}}}\n", line(stats));
}

}  // namespace

void write_inspect_json(Output& output, std::span<const TensorInfo> tensors, std::span<const std::string> shards) {
  output.write("{");
  write_list(output, "tensors", tensors, [&](Object& object, std::size_t index) {
    const TensorInfo& tensor = tensors[index];
    describe(object, tensor.name, tensor.dtype, tensor.shape, tensor.bytes);
    object.add("shard", shards[tensor.shard]);
    object.add("offset", tensor.offset);
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
                    {"peak_arena_bytes", stats.peak_arena_bytes},
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
                    {"peak_arena_bytes", peak_arena_bytes(costs)},
                    {"peak_resident_bytes", peak_resident_bytes() + held_host_bytes(costs)}},
               origins);
}

void write_doctor_json(Output& output, std::span<const Check> checks) {
  output.write("{");
  write_list(output, "checks", checks, [&](Object& object, std::size_t index) {
    const Check& check = checks[index];
    object.add("name", check.name);
    object.add("status", name(check.status));
    object.add("finding", check.finding);
    if (check.advice.empty()) {
      object.add_json("advice", "null");
    } else {
      object.add("advice", check.advice);
    }
  });
  output.write("}\n");
}

}  // namespace sluice::tool
