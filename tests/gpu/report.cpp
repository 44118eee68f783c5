#include "tests/gpu/report.hpp"

#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <stdexcept>

namespace sluice::gpu_check {

namespace {

constexpr const char* warning = "simulated driver: no figure here means anything";

std::string now() {
  const std::time_t time = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm utc{};
  gmtime_r(&time, &utc);
  char text[32] = {};
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &utc);
  return text;
}

// What a table's cell cannot hold is replaced.
std::string cell(std::string text) {
  for (char& c : text) {
    if (c == '|' || c == '\n' || c == '\r') c = ' ';
  }
  return text;
}

std::string text_of(const Json& object, const char* key) {
  if (!object.contains(key) || object[key].is_null()) return "";
  return object[key].is_string() ? object[key].get<std::string>() : object[key].dump();
}

std::string percent(const Json& share) {
  return share.is_number() ? fmt::format("{:.0f} %", share.get<double>() * 100) : "";
}

std::string number(const Json& value, int digits) {
  return value.is_number() ? fmt::format("{:.{}f}", value.get<double>(), digits) : "";
}

std::string machine_text(const Json& machine) {
  std::string text = "## The machine\n\n| | |\n| --- | --- |\n";
  for (const auto& [key, value] : machine.items()) {
    if (!value.is_string() || value.get<std::string>().empty()) continue;
    text += fmt::format("| {} | {} |\n", key, cell(value.get<std::string>()));
  }
  if (!machine.contains("doctor")) return text;
  text += "\nWhat works here for a loader (`sluice doctor`):\n\n| | status | finding |\n| --- | --- | --- |\n";
  for (const Json& check : machine["doctor"]) {
    text += fmt::format("| {} | {} | {} |\n", text_of(check, "name"), text_of(check, "status"),
                        cell(text_of(check, "finding")));
  }
  return text;
}

std::string checks_text(const Json& checks) {
  std::string text = "## Is it right?\n\n| part | what | verdict | passed | failed | skipped | seconds | |\n";
  text += "| --- | --- | --- | ---: | ---: | ---: | ---: | --- |\n";
  for (const Json& check : checks) {
    const std::string verdict = text_of(check, "verdict");
    text +=
        fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} |\n", text_of(check, "part"), text_of(check, "name"),
                    verdict == "failed" ? "**failed**" : verdict, text_of(check, "passed"), text_of(check, "failed"),
                    text_of(check, "skipped"), number(check["seconds"], 1), cell(text_of(check, "detail")));
  }
  return text;
}

std::string link_text(const Json& link) {
  const double one = link["to_device_gb_per_s"];
  std::string text = fmt::format(
      "## The link\n\nCopies of {:.0f} MiB between pinned memory and the first GPU, best of five: {} GB/s to it in one "
      "copy, {} in copies of 4 MiB, {} in the same on two streams in turn, {} from it. Pinning: {} GB/s.\n",
      link["bytes"].get<double>() / (1 << 20), number(one, 2), number(link["to_device_in_slabs_gb_per_s"], 2),
      number(link["to_device_in_slabs_on_two_streams_gb_per_s"], 2), number(link["from_device_gb_per_s"], 2),
      number(link["pinning_gb_per_s"], 2));
  const Json lanes = link.value("lanes", Json::array());
  if (!lanes.empty()) text += "\nLoads of slabs that need no reading, load alone, best of three:\n\n";
  for (const Json& lane : lanes) {
    const double rate = lane["gb_per_s"];
    text += fmt::format("- {}: {} GB/s, {} of the one copy\n", text_of(lane, "model"), number(rate, 2),
                        percent(rate / one));
  }
  return text;
}

std::string row_text(const Json& row) {
  if (row.contains("refused"))
    return fmt::format("| {} | | refused: {} | | | | | | |\n", text_of(row, "name"), cell(text_of(row, "refused")));
  const bool is_limit = row["limit"].get<bool>();
  std::string notes = is_limit ? "limit" : "";
  if (!text_of(row, "how").empty()) notes += (notes.empty() ? "" : "; ") + text_of(row, "how");
  for (const Json& fallback : row.value("fallbacks", Json::array())) {
    notes += fmt::format("{}fell back from {}: {}", notes.empty() ? "" : "; ", text_of(fallback, "what"),
                         text_of(fallback, "reason"));
  }
  return fmt::format("| {} | {} | {} to {} | {} | {} | {} | {} | {} | {} |\n", text_of(row, "name"),
                     number(row["gb_per_s"], 2), number(row["least"], 2), number(row["most"], 2), percent(row["share"]),
                     number(row["load_gb_per_s"], 2), percent(row["load_share"]), number(row["start_up_seconds"], 3),
                     number(row["cpu_seconds_per_gb"], 4), cell(notes));
}

std::string column_text(const Json& column) {
  std::string text = fmt::format("### {}\n\n", text_of(column, "title"));
  if (column.contains("left_out")) return text + "Left out: " + text_of(column, "left_out") + "\n";
  const std::string state =
      text_of(column, "state") + (column["cache_is_known"].get<bool>() ? "" : " (nothing here tells what is cached)");
  text += fmt::format(
      "{} tensors, {:.2f} GB in 4 shards, {}, {} rounds. Speed of light: {} GB/s, the smaller of {} ({} GB/s) and the "
      "link ({} GB/s).\n\n",
      text_of(column, "tensors"), column["bytes"].get<double>() / 1e9, state, text_of(column, "rounds"),
      number(column["light_gb_per_s"], 2), text_of(column, "storage_by"), number(column["storage_gb_per_s"], 2),
      number(column["link_gb_per_s"], 2));
  text += "| | GB/s | least to most | of light | load alone, GB/s | of light | start-up s | CPU s/GB | how |\n";
  text += "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n";
  for (const Json& row : column["rows"]) text += row_text(row);
  return text;
}

std::string verdict_text(const Json& report) {
  std::uint64_t passed = 0;
  std::uint64_t failed = 0;
  std::uint64_t skipped = 0;
  for (const Json& check : report["checks"]) {
    passed += check["passed"].get<std::uint64_t>();
    failed += check["failed"].get<std::uint64_t>();
    skipped += check["skipped"].get<std::uint64_t>();
  }
  return fmt::format("{} passed, {} failed, {} skipped", passed, failed, skipped);
}

// Of every column, how near a load as it is comes to the machine's limit.
std::string summary_text(const Json& loads) {
  std::string text;
  for (const Json& column : loads) {
    if (!column.contains("rows")) continue;
    for (const Json& row : column["rows"]) {
      if (row["name"] != plain_load || row.contains("refused")) continue;
      text += fmt::format("- {}: {} GB/s, {} of the speed of light ({} GB/s); {} with start-up\n",
                          text_of(column, "title"), number(row["load_gb_per_s"], 2), percent(row["load_share"]),
                          number(column["light_gb_per_s"], 2), percent(row["share"]));
    }
  }
  return text.empty() ? text : text + '\n';
}

}  // namespace

std::string markdown(const Json& report) {
  std::string text = "# sluice on this machine\n\n";
  if (report["simulated"].get<bool>()) text += fmt::format("> **{}**\n\n", warning);
  text +=
      fmt::format("{}, sluice {}{}; {:.0f} s{}.\n\n**{}.**\n\n", text_of(report, "started"), text_of(report, "version"),
                  report["quick"].get<bool>() ? ", quick" : "", report["seconds"].get<double>(),
                  report["complete"].get<bool>() ? "" : " so far: **not complete**", verdict_text(report));
  text += summary_text(report["loads"]);
  if (report.contains("machine")) text += machine_text(report["machine"]) + '\n';
  if (!report["checks"].empty()) text += checks_text(report["checks"]) + '\n';
  if (report.contains("link")) text += link_text(report["link"]) + '\n';
  if (!report["loads"].empty()) {
    text +=
        "## How fast is it?\n\nGB/s of what is read from storage, medians. A load's seconds begin with the opening "
        "of the checkpoint and so include the driver's start; \"load alone\" is from the first read to the last "
        "tensor.\n\n";
  }
  for (const Json& column : report["loads"]) text += column_text(column) + '\n';
  return text;
}

Report::Report(std::filesystem::path folder) : folder_(std::move(folder)) {
  json_ = {{"version", SLUICE_VERSION}, {"started", now()},          {"seconds", 0.0},
           {"complete", false},         {"simulated", false},        {"quick", false},
           {"warning", Json(nullptr)},  {"machine", Json::object()}, {"checks", Json::array()},
           {"loads", Json::array()}};
}

void Report::say(std::string_view text) const {
  fmt::print("[{:6.1f} s] {}\n", since_start_.seconds(), text);
  std::fflush(stdout);
}

void Report::add(const Finding& finding) {
  json_["checks"].push_back({{"part", finding.part},
                             {"name", finding.name},
                             {"verdict", finding.verdict},
                             {"passed", finding.passed},
                             {"failed", finding.failed},
                             {"skipped", finding.skipped},
                             {"seconds", finding.seconds},
                             {"detail", finding.detail}});
  progress("{}: {}: {}, {} passed, {} failed, {} skipped{}{}", finding.part, finding.name, finding.verdict,
           finding.passed, finding.failed, finding.skipped, finding.detail.empty() ? "" : ": ", finding.detail);
  write();
}

void Report::write() {
  json_["seconds"] = since_start_.seconds();
  json_["warning"] = json_["simulated"].get<bool>() ? Json(warning) : Json(nullptr);
  std::ofstream json(folder_ / "report.json", std::ios::trunc);
  json << json_.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  std::ofstream text(folder_ / "report.md", std::ios::trunc);
  text << markdown(json_);
  if (!json.flush() || !text.flush()) {
    throw std::runtime_error(fmt::format("the report cannot be written to {}", folder_.string()));
  }
}

int Report::finish() {
  json_["complete"] = true;
  write();
  bool failed = json_["checks"].empty();
  for (const Json& check : json_["checks"]) failed = failed || check["verdict"] == "failed";
  if (json_["simulated"].get<bool>()) progress("{}", warning);
  progress("{}: see {}", verdict_text(json_), (folder_ / "report.md").string());
  return failed ? 1 : 0;
}

}  // namespace sluice::gpu_check
