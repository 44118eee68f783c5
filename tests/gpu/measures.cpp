#include "tests/gpu/measures.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <stdexcept>
#include <vector>

#include "loader/base/memory.hpp"
#include "loader/base/stopwatch.hpp"
#include "loader/base/thread.hpp"
#include "loader/read/page_cache.hpp"
#include "tests/gpu/checkpoints.hpp"
#include "tests/gpu/child.hpp"

namespace sluice::gpu_check {

namespace {

using Files = std::vector<std::filesystem::path>;

constexpr std::uint64_t mib = 1 << 20;
constexpr std::uint64_t dense_bytes_max = 4096 * mib;
constexpr std::uint64_t dense_tensor_bytes = 32 * mib;
constexpr std::uint64_t small_tensor_bytes = 64 << 10;

enum class Role { sluice, limit, other };

struct Contender {
  std::string name;
  std::vector<std::string> command;
  Role role = Role::sluice;
};

struct Column {
  std::string title;
  std::string state;  // "cold", "warm"
  CheckpointShape shape;
  std::vector<Contender> contenders;
};

// Nothing where neither kernel nor file system tells.
std::optional<std::uint64_t> cached_bytes(const std::filesystem::path& file) {
  const int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw std::runtime_error(file.string() + " cannot be opened");
  const auto cached = PageCache().cached_bytes(descriptor, 0, std::filesystem::file_size(file));
  close(descriptor);
  return cached;
}

bool make_cold(const Files& files) {
  for (int attempt = 0; attempt < 20; ++attempt) {
    std::uint64_t cached = 0;
    for (const std::filesystem::path& file : files) {
      const int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC);
      fsync(descriptor);
      posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
      close(descriptor);
      cached += cached_bytes(file).value_or(0);
    }
    if (cached == 0) return true;
    usleep(100'000);
  }
  return false;
}

bool make_warm(const Files& files) {
  std::vector<char> buffer(4 * mib);
  for (int attempt = 0; attempt < 3; ++attempt) {
    bool all = true;
    for (const std::filesystem::path& file : files) {
      const int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC);
      while (read(descriptor, buffer.data(), buffer.size()) > 0) continue;
      close(descriptor);
      const std::uint64_t size = std::filesystem::file_size(file);
      all = all && cached_bytes(file).value_or(size) == size;
    }
    if (all) return true;
  }
  return false;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// One run's figures, whichever program gave them.
Json figures(const std::string& out) {
  const Json printed = Json::parse(out);
  return printed.contains("stats") ? printed["stats"] : printed;
}

Json row_of(const Contender& contender, const std::vector<Json>& runs, double light) {
  std::vector<double> rates;
  std::vector<double> load_rates;
  std::vector<double> start_ups;
  std::vector<double> cpu;
  for (const Json& run : runs) {
    const double gigabytes = run["bytes"].get<double>() / 1e9;
    rates.push_back(gigabytes / run["seconds"].get<double>());
    cpu.push_back(run["cpu_seconds"].get<double>() / gigabytes);
    if (!run.contains("phases")) continue;
    load_rates.push_back(gigabytes / run["phases"]["load"].get<double>());
    start_ups.push_back(run["seconds"].get<double>() - run["phases"]["load"].get<double>());
  }
  const Json none = nullptr;
  const Json& last = runs.back();
  const bool has_phases = !load_rates.empty();
  const bool is_limit = contender.role == Role::limit;
  return {
      {"name", contender.name},
      {"limit", is_limit},
      {"gb_per_s", median(rates)},
      {"least", *std::min_element(rates.begin(), rates.end())},
      {"most", *std::max_element(rates.begin(), rates.end())},
      {"share", is_limit ? none : Json(median(rates) / light)},
      {"load_gb_per_s", has_phases ? Json(median(load_rates)) : none},
      {"load_share", has_phases && !is_limit ? Json(median(load_rates) / light) : none},
      {"start_up_seconds", has_phases ? Json(median(start_ups)) : none},
      {"cpu_seconds_per_gb", median(cpu)},
      {"how", last.contains("reader") ? last["reader"].get<std::string>() + ", " + last["io"].get<std::string>() : ""},
      {"fallbacks", last.value("fallbacks", Json::array())},
      {"runs", runs}};
}

class ColumnRun {
 public:
  ColumnRun(const Setting& setting, const Column& column, const Files& files)
      : setting_(setting), column_(column), files_(files) {}

  Json run() {
    Json result{{"title", column_.title}, {"state", column_.state}, {"tensors", column_.shape.tensors}};
    const Effort& effort = setting_.effort;
    const int rounds_max = effort.simulated ? 1 : effort.quick ? 3 : 5;
    const double seconds_max = effort.quick ? 6 : 25;
    const Stopwatch stopwatch;
    int rounds = 0;
    for (; rounds < rounds_max && (rounds == 0 || stopwatch.seconds() < seconds_max); ++rounds) {
      if (!play_round(rounds % 2 != 0)) {
        result["left_out"] = "the page cache does not do what it is asked, so nothing here would be " + column_.state;
        return result;
      }
    }
    result["rounds"] = rounds;
    result["cache_is_known"] = cached_bytes(files_.front()).has_value();
    add_rows(result);
    return result;
  }

 private:
  bool play_round(bool backwards) {
    std::vector<const Contender*> order;
    for (const Contender& contender : column_.contenders) order.push_back(&contender);
    if (backwards) std::reverse(order.begin(), order.end());
    for (const Contender* contender : order) {
      if (refusals_.count(contender->name) != 0) continue;
      if (!(column_.state == "cold" ? make_cold(files_) : make_warm(files_))) return false;
      const Ended ended = run_child({contender->command}, setting_.log("bench " + contender->name));
      if (ended.well()) {
        runs_[contender->name].push_back(figures(ended.out));
        continue;
      }
      refusals_[contender->name] = ended.last_words();
      if (contender->role != Role::sluice) continue;
      setting_.report.add(
          finding_of("loads", column_.title + ": " + contender->name, false, ended.seconds, ended.last_words()));
    }
    return true;
  }

  void add_rows(Json& result) const {
    double storage = 0;
    std::string storage_by = "nothing that ran";
    for (const Contender& contender : column_.contenders) {
      if (contender.role != Role::limit || refusals_.count(contender.name) != 0) continue;
      const Json row = row_of(contender, runs_.at(contender.name), 1);
      const double rate = std::max(row["gb_per_s"].get<double>(),
                                   row["load_gb_per_s"].is_null() ? 0 : row["load_gb_per_s"].get<double>());
      if (rate <= storage) continue;
      storage = rate;
      storage_by = contender.name;
    }
    const Json& report = setting_.report.json();
    const double link = report.contains("link") ? report["link"]["to_device_gb_per_s"].get<double>() : 0;
    const double light = link > 0 ? std::min(storage, link) : storage;
    Json rows = Json::array();
    for (const Contender& contender : column_.contenders) {
      const auto refusal = refusals_.find(contender.name);
      if (refusal != refusals_.end()) {
        rows.push_back(
            {{"name", contender.name}, {"limit", contender.role == Role::limit}, {"refused", refusal->second}});
      } else {
        rows.push_back(row_of(contender, runs_.at(contender.name), light));
      }
    }
    std::uint64_t bytes = 0;
    for (const std::filesystem::path& file : files_) bytes += std::filesystem::file_size(file);
    result.update({{"bytes", bytes},
                   {"storage_gb_per_s", storage},
                   {"storage_by", storage_by},
                   {"link_gb_per_s", link},
                   {"light_gb_per_s", light},
                   {"rows", rows}});
  }

  const Setting& setting_;
  const Column& column_;
  const Files& files_;
  std::map<std::string, std::vector<Json>> runs_;
  std::map<std::string, std::string> refusals_;
};

// The programs that are run on one checkpoint.
class Line {
 public:
  Line(const Setting& setting, std::filesystem::path checkpoint, const Files& files)
      : setting_(setting), checkpoint_(std::move(checkpoint)) {
    for (const std::filesystem::path& file : files) files_.push_back(file.string());
  }

  Contender sluice(const std::string& name, std::vector<std::string> options, Role role = Role::sluice) const {
    options.insert(options.begin(), {setting_.program("sluice"), "load", checkpoint_.string(), "--json"});
    return {name, std::move(options), role};
  }
  Contender bare(const std::string& name, const std::string& program, std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), setting_.program("bench_cold_start_" + program));
    arguments.insert(arguments.end(), files_.begin(), files_.end());
    return {name, std::move(arguments), Role::limit};
  }

  std::vector<Contender> cold_limits() const {
    return {bare("bare loop: direct io_uring, 1 MiB x 16", "direct", {"1048576", "16", "0"}),
            bare("bare loop: direct io_uring, 4 MiB x 16", "direct", {"4194304", "16", "0"}),
            sluice("sluice --device null --io direct", {"--device", "null", "--io", "direct"}, Role::limit)};
  }
  std::vector<Contender> warm_limits() const {
    std::vector<Contender> limits{sluice("sluice --device null", {"--device", "null"}, Role::limit)};
    for (const unsigned threads : {2u, 8u}) {
      if (threads > processor_count()) continue;
      limits.push_back(
          bare(fmt::format("{} threads of pread", threads), "pread", {"4194304", fmt::format("{}", threads)}));
    }
    return limits;
  }
  std::vector<Contender> with(std::vector<Contender> contenders, const std::vector<std::string>& casts) const {
    contenders.push_back(sluice(plain_load, {"--device", "cuda:0"}));
    for (const std::string& dtype : casts) {
      contenders.push_back(
          sluice(fmt::format("{}, to {}", plain_load, dtype), {"--device", "cuda:0", "--dtype", dtype}));
    }
    for (const Other& other : setting_.others) {
      std::vector<std::string> command = other.command;
      command.insert(command.end(), files_.begin(), files_.end());
      contenders.push_back({other.name, std::move(command), Role::other});
    }
    return contenders;
  }

 private:
  const Setting& setting_;
  std::filesystem::path checkpoint_;
  std::vector<std::string> files_;
};

// What the lane makes of the link where storage takes no time: the null reader's slabs are full at once.
void measure_lane(const Setting& setting, const Line& line, const std::string& model) {
  Json& report = setting.report.json();
  if (!report.contains("link")) return;
  const Contender load = line.sluice("slabs that need no reading", {"--device", "cuda:0", "--reader", "null"});
  double best = 0;
  for (int i = 0; i < (setting.effort.simulated ? 1 : 3); ++i) {
    const Ended ended = run_child({load.command}, setting.log("lane"));
    if (!ended.well()) {
      setting.report.add(
          finding_of("link", fmt::format("{}, {}", model, load.name), false, ended.seconds, ended.last_words()));
      return;
    }
    const Json run = figures(ended.out);
    best = std::max(best, run["bytes"].get<double>() / run["phases"]["load"].get<double>() / 1e9);
  }
  report["link"]["lanes"].push_back({{"model", model}, {"gb_per_s", best}});
}

struct Model {
  std::string name;
  CheckpointShape shape;
  std::vector<std::string> casts;
};

void measure_model(const Setting& setting, const Model& model) {
  Report& report = setting.report;
  const std::filesystem::path folder = setting.data / "sluice-gpu-check";
  std::filesystem::remove_all(folder);
  const Stopwatch stopwatch;
  const Files files = make_checkpoint(folder, model.shape);
  report.progress("made {}: {} tensors, {:.2f} GB, in {:.1f} s", model.name, model.shape.tensors,
                  static_cast<double>(model.shape.tensors * model.shape.tensor_bytes) / 1e9, stopwatch.seconds());
  check_loads(setting, folder, model.name, "");
  for (const std::string& cast : model.casts) check_loads(setting, folder, model.name, cast);

  const Line line(setting, folder, files);
  measure_lane(setting, line, model.name);
  const Column columns[] = {{model.name + ", cold", "cold", model.shape, line.with(line.cold_limits(), model.casts)},
                            {model.name + ", warm", "warm", model.shape, line.with(line.warm_limits(), model.casts)}};
  for (const Column& column : columns) {
    const Json result = ColumnRun(setting, column, files).run();
    report.json()["loads"].push_back(result);
    report.progress("measured {}{}", column.title, result.contains("left_out") ? ": left out" : "");
    report.write();
  }
  std::filesystem::remove_all(folder);
}

// As much as storage gives in a second and a half, and as leaves memory and disk room.
std::uint64_t dense_bytes(const Setting& setting) {
  const Effort& effort = setting.effort;
  if (effort.bytes != 0) return effort.bytes;
  if (effort.simulated) return 64 * mib;
  const std::uint64_t room = std::min(available_memory_bytes() / 3, std::filesystem::space(setting.data).available / 3);
  const std::filesystem::path folder = setting.data / "sluice-gpu-check";
  const CheckpointShape probe{"BF16", 2, 16, 16 * mib};
  const Files files = make_checkpoint(folder, probe);
  make_cold(files);
  const Ended ended = run_child({Line(setting, folder, files).cold_limits().back().command}, setting.log("probe"));
  const double rate =
      ended.well() ? figures(ended.out)["bytes"].get<double>() / figures(ended.out)["phases"]["load"].get<double>()
                   : 1e9;
  const auto wanted = static_cast<std::uint64_t>(rate * (effort.quick ? 0.5 : 1.5));
  return std::min({std::max(wanted, 512 * mib), effort.quick ? dense_bytes_max / 4 : dense_bytes_max, room});
}

}  // namespace

void measure_link(const Setting& setting) {
  const Effort& effort = setting.effort;
  const std::uint64_t bytes = effort.simulated ? 16 * mib : effort.quick ? 512 * mib : 1024 * mib;
  const Ended ended =
      run_child({{setting.program("gpu_check"), "--link", fmt::format("{}", bytes)}}, setting.log("link"));
  const bool well = ended.well();
  if (well) setting.report.json()["link"] = Json::parse(ended.out);
  setting.report.add(
      finding_of("link", "rate of one long copy from pinned memory", well, ended.seconds,
                 well ? fmt::format("{:.2f} GB/s", setting.report.json()["link"]["to_device_gb_per_s"].get<double>())
                      : ended.last_words()));
}

void measure_loads(const Setting& setting) {
  const std::uint64_t bytes = dense_bytes(setting) / (4 * mib) * (4 * mib);
  const std::uint64_t tensor_bytes = std::min(dense_tensor_bytes, bytes / 16);
  const std::uint64_t half = bytes / tensor_bytes / 2;
  const Model models[] = {
      {"dense BF16", {"BF16", 2, bytes / tensor_bytes, tensor_bytes}, {"F32"}},
      {"dense F32", {"F32", 4, half, tensor_bytes}, {"BF16", "F8_E4M3"}},
      {"small tensors BF16", {"BF16", 2, bytes / 3 / small_tensor_bytes, small_tensor_bytes}, {"F32"}}};
  for (const Model& model : models) {
    try {
      measure_model(setting, model);
    } catch (const std::exception& error) {
      setting.report.add(finding_of("loads", model.name, false, 0, error.what()));
    }
  }
}

}  // namespace sluice::gpu_check
