#include "loader/tool/report.hpp"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <map>
#include <system_error>
#include <tuple>

#include "loader/tool/text.hpp"
#include "sluice/device.hpp"
#include "sluice/dtype.hpp"

namespace sluice::tool {

namespace {

// More tensors than this are told of by dtype only; `inspect` lists them all.
constexpr std::size_t listed_tensors_max = 24;

// How many of those that rules have made, and how many pieces of each, and how many groups are told of.
constexpr std::size_t listed_pieces_max = 4;
constexpr std::size_t listed_groups_max = 6;

// A line of the summary: a label and what it is about.
template <typename... Args>
void fact(Output& output, const char* label, fmt::format_string<Args...> format, Args&&... args) {
  output.print("  {:<10}  {}\n", label, fmt::format(format, std::forward<Args>(args)...));
}

void report_totals(Output& output, const Checkpoint& checkpoint, std::span<const Tensor> tensors) {
  struct Total {
    std::uint64_t tensors = 0;
    std::uint64_t bytes = 0;
  };
  std::map<std::tuple<DeviceId, Dtype>, Total> totals;
  for (const Tensor& tensor : tensors) {
    Total& total = totals[{tensor.device, tensor.dtype}];
    ++total.tensors;
    total.bytes += tensor.bytes;
  }
  output.print("{}: {} in {}\n", escaped(checkpoint.path().native()), count(tensors.size(), "tensor"),
               count(checkpoint.shards().size(), "shard"));
  for (const auto& [key, total] : totals) {
    const auto& [device, dtype] = key;
    output.print("  {:<10}  {:<11} {:>16}  {:>9}\n", name(device), name(dtype), count(total.tensors, "tensor"),
                 decimal_size(total.bytes));
  }
}

void list_tensors(Output& output, std::span<const Tensor> tensors, std::span<const std::string> digests) {
  if (digests.empty() && tensors.size() > listed_tensors_max) return;
  std::size_t shape_columns = 0;
  for (const Tensor& tensor : tensors) shape_columns = std::max(shape_columns, shape(tensor.shape).size());
  output.write("\n");
  for (std::size_t index = 0; index < tensors.size(); ++index) {
    const Tensor& tensor = tensors[index];
    if (!digests.empty()) output.print("  {}", digests[index]);
    output.print("  {:<10}  {:<11} {:<{}}  {:>9}  {}\n", name(tensor.device), name(tensor.dtype), shape(tensor.shape),
                 shape_columns, decimal_size(tensor.bytes), escaped(tensor.name));
  }
}

// A tensor, and below it of what it is made: "[0:128, :]  <- model.q_proj.weight [0:128, :]".
void list_origins(Output& output, const Tensor& tensor, const Origins& origins) {
  output.print("  {}  {}  {} {}  {}{}\n", name(tensor.device), escaped(tensor.name), name(tensor.dtype),
               shape(tensor.shape), decimal_size(tensor.bytes),
               tensor.group.number == 0 ? "" : fmt::format("  group {}", tensor.group.number));
  const std::span<const rules::Piece> pieces = origins.of(tensor);
  const std::span<const rules::Piece> shown = pieces.first(std::min(pieces.size(), listed_pieces_max));
  std::size_t columns = 0;
  for (const rules::Piece& piece : shown) columns = std::max(columns, Origins::into(piece, tensor).size());
  for (const rules::Piece& piece : shown) {
    const std::string from = origins.from(piece);
    const bool is_itself = from.empty() && piece.destination == rules::Piece::itself;
    if (is_itself) continue;  // whole, as it is
    const std::size_t more = &piece == &shown.back() ? pieces.size() - shown.size() : 0;
    output.print("            {:<{}}{}<- {}{}{}{}\n", Origins::into(piece, tensor), columns, columns == 0 ? "" : "  ",
                 escaped(origins.tensor_of(piece)), from.empty() ? "" : " ", from,
                 more == 0 ? "" : fmt::format("    ... {} more", more));
  }
}

void list_origins(Output& output, std::span<const Tensor> tensors, const Origins& origins) {
  output.write("\n");
  const std::size_t listed = std::min(tensors.size(), listed_tensors_max);
  for (const Tensor& tensor : tensors.first(listed)) list_origins(output, tensor, origins);
  if (listed < tensors.size()) {
    output.print("  ... {} more; --as-rules prints them all\n", tensors.size() - listed);
  }
}

void report_rules(Output& output, const Checkpoint& checkpoint, const Plan& plan, const Origins& origins) {
  fact(output, "rules", "{} of {} matched, {} of them skipped", origins.matched(),
       count(checkpoint.tensors().size(), "tensor"), origins.skipped());
  std::string groups;
  const std::vector<PlanCosts::OfGroup>& all = plan.costs().groups;
  for (std::size_t i = 0; i < std::min(all.size(), listed_groups_max); ++i) {
    groups +=
        fmt::format("{}{}: {} after {}{}", i == 0 ? "" : "    ", all[i].group.number,
                    decimal_size(all[i].delivered_bytes), decimal_size(all[i].read_bytes_until), i == 0 ? " read" : "");
  }
  if (all.size() > listed_groups_max) groups += fmt::format("    ... {} more", all.size() - listed_groups_max);
  if (all.size() > 1) fact(output, "groups", "{}", groups);
  const ShortestRun run = shortest_run(plan);
  if (run.tensor.empty()) return;
  constexpr std::uint64_t slow_run_bytes = 16;
  fact(output, "runs", "{} the shortest ({}){}", decimal_size(run.bytes), escaped(run.tensor),
       run.bytes < slow_run_bytes ? ": such short ones are slow" : "");
}

std::string how_it_was_read(const Stats& stats) {
  std::string text = fmt::format("{}, {}", name(stats.reader), stats.io());
  if (stats.direct_bytes != 0 && stats.direct_bytes != stats.bytes) {
    text += fmt::format(" ({} past the page cache)", decimal_size(stats.direct_bytes));
  }
  return text;
}

}  // namespace

std::vector<std::string> shard_names(const Checkpoint& checkpoint) {
  std::error_code ignored;
  const std::filesystem::path& opened = checkpoint.path();
  const std::filesystem::path folder = std::filesystem::is_directory(opened, ignored) ? opened : opened.parent_path();
  std::vector<std::string> names;
  names.reserve(checkpoint.shards().size());
  for (const Shard& shard : checkpoint.shards()) {
    const std::filesystem::path relative = shard.path.lexically_relative(folder);
    const bool inside = !relative.empty() && *relative.begin() != "..";
    names.push_back(inside ? relative.native() : shard.path.native());
  }
  return names;
}

std::uint64_t held_host_bytes(const PlanCosts& costs) noexcept {
  std::uint64_t bytes = costs.staging_bytes;
  for (const PlanCosts::OnDevice& on_device : costs.devices) {
    if (on_device.device == host()) bytes += on_device.arena_peak_bytes;
  }
  return bytes;
}

std::uint64_t peak_arena_bytes(const PlanCosts& costs) noexcept {
  std::uint64_t bytes = 0;
  for (const PlanCosts::OnDevice& on_device : costs.devices) bytes += on_device.arena_peak_bytes;
  return bytes;
}

void report_inspect(Output& output, const Checkpoint& checkpoint, std::span<const TensorInfo> tensors) {
  const std::vector<std::string> shards = shard_names(checkpoint);
  std::size_t shape_columns = 0;
  std::uint64_t bytes_total = 0;
  for (const TensorInfo& tensor : tensors) {
    shape_columns = std::max(shape_columns, shape(tensor.shape).size());
    bytes_total += tensor.bytes;
  }
  std::size_t shards_shown = 0;
  for (std::size_t index = 0; index < tensors.size(); ++index) {
    const TensorInfo& tensor = tensors[index];
    if (index == 0 || tensor.shard != tensors[index - 1].shard) {
      output.print("{}{}\n", index == 0 ? "" : "\n", escaped(shards[tensor.shard]));
      ++shards_shown;
    }
    output.print("  {:<11} {:<{}}  {:>9}  at {:<12}  {}\n", name(tensor.dtype), shape(tensor.shape), shape_columns,
                 decimal_size(tensor.bytes), tensor.offset, escaped(tensor.name));
  }
  output.print("{}{}, {} in {}\n", tensors.empty() ? "" : "\n", count(tensors.size(), "tensor"),
               decimal_size(bytes_total), count(shards_shown, "shard"));
}

void report_plan(Output& output, const Checkpoint& checkpoint, const Plan& plan, const Origins* origins) {
  const std::vector<Tensor> tensors = plan.tensors();
  const PlanCosts& costs = plan.costs();
  report_totals(output, checkpoint, tensors);
  if (origins != nullptr) {
    list_origins(output, tensors, *origins);
  } else {
    list_tensors(output, tensors, {});
  }
  output.write("\n");
  if (origins != nullptr) report_rules(output, checkpoint, plan, *origins);
  fact(output, "read", "{} in {}, {} of them in place", decimal_size(costs.read_bytes), count(costs.extents, "extent"),
       costs.in_place_extents);
  fact(output, "deliver", "{} in {} and {}", decimal_size(costs.delivered_bytes), count(costs.copies, "copy", "copies"),
       count(costs.launches, "launch", "launches"));
  fact(output, "staging", "{} at most", binary_size(costs.staging_bytes));
  for (const PlanCosts::OnDevice& on_device : costs.devices) {
    const std::string scratch =
        on_device.scratch_bytes == 0 ? "" : fmt::format(", {} of scratch", binary_size(on_device.scratch_bytes));
    const bool in_pieces = on_device.arena_peak_bytes < on_device.arena_bytes;
    const std::string at_a_time =
        in_pieces ? fmt::format(", {} at a time", binary_size(on_device.arena_peak_bytes)) : "";
    fact(output, name(on_device.device).c_str(), "{} for {}{}{}", binary_size(on_device.arena_bytes),
         count(on_device.tensors, "tensor"), at_a_time, scratch);
  }
  fact(output, "time", "open {}, plan {}", duration(checkpoint.open_seconds()), duration(plan.seconds()));
}

void report_load(Output& output, const Checkpoint& checkpoint, std::span<const Tensor> tensors,
                 std::span<const std::string> digests, const Stats& stats) {
  report_totals(output, checkpoint, tensors);
  list_tensors(output, tensors, digests);
  const double gigabytes = static_cast<double>(stats.bytes) / 1e9;
  output.write("\n");
  fact(output, "read", "{} in {}: {:.2f} GB/s", decimal_size(stats.bytes), duration(stats.seconds), stats.gb_per_s());
  fact(output, "time", "open {}, plan {}, start-up {}, load {}", duration(stats.open_seconds),
       duration(stats.plan_seconds), duration(stats.start_up_seconds), duration(stats.load_seconds));
  if (stats.pinning_seconds > 0) {
    fact(output, "start-up", "beside reads: devices {}, lanes {}, pinning {}", duration(stats.devices_seconds),
         duration(stats.lanes_seconds), duration(stats.pinning_seconds));
  }
  fact(output, "processor", "{}{}", duration(stats.cpu_seconds),
       gigabytes > 0 ? fmt::format(": {:.3f} s a GB", stats.cpu_seconds / gigabytes) : "");
  fact(output, "reader", "{}", how_it_was_read(stats));
  if (stats.window_bytes > 0) {
    fact(output, "storage", "{} asked of it at a time, a read takes {}", binary_size(stats.window_bytes),
         duration(stats.read_latency_seconds));
  }
  fact(output, "work", "{}, {}, {}", count(stats.extents, "extent"), count(stats.copies, "copy", "copies"),
       count(stats.launches, "launch", "launches"));
  fact(output, "memory", "staging {}, process {} at most", binary_size(stats.peak_staging_bytes),
       binary_size(stats.peak_resident_bytes));
  for (const Fallback& fallback : stats.fallbacks) {
    fact(output, "fallback", "{}: {}", escaped(fallback.what), escaped(fallback.reason));
  }
}

void report_doctor(Output& output, std::span<const Check> checks) {
  std::size_t name_columns = 0;
  for (const Check& check : checks) name_columns = std::max(name_columns, check.name.size());
  for (const Check& check : checks) {
    output.print("{:<6}  {:<{}}  {}\n", name(check.status), check.name, name_columns, escaped(check.finding));
    if (!check.advice.empty()) output.print("{:<6}  {:<{}}  -> {}\n", "", "", name_columns, escaped(check.advice));
  }
}

}  // namespace sluice::tool
