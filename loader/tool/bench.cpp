#include <unistd.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "loader/plan/access.hpp"
#include "loader/plan/plan.hpp"
#include "loader/tool/bench_json.hpp"
#include "loader/tool/bench_report.hpp"
#include "loader/tool/bench_result.hpp"
#include "loader/tool/cache_state.hpp"
#include "loader/tool/child_process.hpp"
#include "loader/tool/commands.hpp"
#include "loader/tool/limit_probes.hpp"
#include "loader/tool/output_file.hpp"
#include "loader/tool/plot.hpp"
#include "loader/tool/progress.hpp"
#include "loader/tool/report.hpp"
#include "loader/tool/request_of.hpp"
#include "loader/tool/text.hpp"
#include "sluice/checkpoint.hpp"
#include "sluice/plan.hpp"

namespace sluice::tool {

namespace {

std::vector<CachedFile> files_of(const Checkpoint& checkpoint, const Plan& plan) {
  std::set<std::uint32_t> read;
  for (const Extent& extent : Access::data(plan)->extents) read.insert(extent.shard);
  std::vector<CachedFile> files;
  for (std::uint32_t i = 0; i < checkpoint.shards().size(); ++i) {
    const Shard& shard = checkpoint.shards()[i];
    files.push_back({shard.path, shard.bytes, read.contains(i) ? shard.bytes : shard.data_offset});
  }
  return files;
}

/// The measurement: what takes turns, and what is known so far. One for each run of the command.
class Bench {
 public:
  Bench(const Arguments& arguments, const Checkpoint& checkpoint, const Plan& plan, Interrupts& interrupts)
      : arguments_(arguments),
        interrupts_(interrupts),
        check_([&interrupts] { interrupts.check(); }),
        options_(resolve(arguments.options)),
        files_(files_of(checkpoint, plan)),
        held_bytes_(held_host_bytes(plan.costs())),
        cache_(files_, options_.threads, check_),
        storage_(files_, arguments.options, check_) {
    describe(checkpoint, plan);
  }

  BenchResult run();

 private:
  void describe(const Checkpoint& checkpoint, const Plan& plan);
  void finish();
  std::vector<std::function<void()>> turns();
  void say(const char* what);
  ChildResult run_child(const std::vector<std::string>& command);
  void leave_out(bool& wanted, bool asked_for, const char* what, const CacheState::Outcome& outcome);
  bool ready(bool warm);
  void start(bool warm);
  void measure_storage(std::size_t setting);
  void measure_cache();
  void measure_links();

  const Arguments& arguments_;
  Interrupts& interrupts_;
  const Interruption check_;
  const Options options_;
  const std::vector<CachedFile> files_;
  const std::uint64_t held_bytes_;
  CacheState cache_;
  StorageProbe storage_;
  ChildProcess child_;
  ProgressLine line_{STDERR_FILENO};
  unsigned round_ = 0;
  bool cold_ = true;
  bool warm_ = true;
  std::uint64_t cached_bytes_ = 0;  // as ready() left it
  double others_seconds_ = 0;       // of processors, that were used by others while starts ran
  double starts_seconds_ = 0;       // that starts ran
  BenchResult result_;
};

void Bench::describe(const Checkpoint& checkpoint, const Plan& plan) {
  const PlanCosts& costs = plan.costs();
  if (costs.read_bytes == 0) {
    throw Error(ErrorCode::tensor_not_found, "there is nothing to measure: a load of it reads no bytes",
                {arguments_.path.string(), {}, {}}, "name a checkpoint whose tensors hold something");
  }
  result_.machine = this_machine(arguments_.path);
  result_.checkpoint = {arguments_.path.string(), checkpoint.shards().size(), checkpoint.tensors().size(),
                        cache_.bytes()};
  result_.load.read_bytes = costs.read_bytes;
  result_.load.casts = arguments_.dtype.has_value() || !arguments_.rules.empty();
  for (const PlanCosts::OnDevice& on : costs.devices) {
    result_.load.devices.push_back(name(on.device));
    if (on.device == host()) result_.load.fresh_bytes = on.arena_peak_bytes;
    if (on.device.kind == DeviceId::Kind::cuda) result_.load.links.push_back({name(on.device), on.link_bytes});
  }
  result_.threads = options_.threads;
  // Bytes that are cast are copied into slabs, and only what the cast makes of them into fresh memory.
  result_.cache_into_fresh_memory = result_.load.fresh_bytes > 0 && costs.launches * 2 < costs.extents;
  for (const StorageSetting& setting : storage_settings) result_.storage.push_back({setting, {}});
  cold_ = !arguments_.only_warm;
  warm_ = !arguments_.only_cold;
}

BenchResult Bench::run() {
  const Interrupts::Guard guard(interrupts_, [this] { child_.end(); });
  try {
    const std::vector<std::function<void()>> forwards = turns();
    for (round_ = 1; round_ <= arguments_.rounds; ++round_) {
      const bool backwards = round_ % 2 == 0;
      for (std::size_t i = 0; i < forwards.size(); ++i) {
        check_();
        forwards[backwards ? forwards.size() - 1 - i : i]();
      }
    }
  } catch (...) {
    line_.clear();
    interrupts_.check();  // whatever else a process that was ended by it seems to have met
    throw;
  }
  line_.clear();
  check_();
  finish();
  return std::move(result_);
}

/// What is known only at the end.
void Bench::finish() {
  result_.storage_is_direct = storage_.is_direct();
  result_.storage_reader = sluice::name(storage_.reader());
  if (!result_.links.empty()) {
    for (const LinkSample::OfDevice& device : result_.links.front().devices) {
      result_.machine.gpus.push_back(device.description);
    }
  }
  std::uint64_t left = 0;
  for (const Start& start : result_.cold) left = std::max(left, start.cached_bytes_before);
  if (left > 0) {
    result_.notes.push_back({"cold", fmt::format("up to {} of {} stayed in the page cache before a start",
                                                 decimal_size(left), decimal_size(cache_.bytes()))});
  }
  if (starts_seconds_ > 0) {
    result_.others_share = std::max(0.0, others_seconds_ / (starts_seconds_ * machine_processors()));
  }
  if (result_.others_share > others_share_max) {
    result_.notes.push_back({"machine", fmt::format("others used {:.0f} % of its processors while starts ran: measure "
                                                    "again when it is quiet",
                                                    100 * result_.others_share)});
  }
  if (!cache_.caveat().empty()) result_.notes.push_back({"page cache", cache_.caveat()});
}

/// What is done in each round, from the first to the last.
std::vector<std::function<void()>> Bench::turns() {
  std::vector<std::function<void()>> all;
  const bool reads = arguments_.options.reader != ReaderKind::null;
  // A warm start that was told to pass the page cache by is as cold as any.
  if (reads && (cold_ || arguments_.options.io == IoMode::direct)) {
    for (std::size_t i = 0; i < storage_settings.size(); ++i) all.push_back([this, i] { measure_storage(i); });
  }
  if (cold_) all.push_back([this] { start(false); });
  if (!result_.load.links.empty()) all.push_back([this] { measure_links(); });
  if (result_.load.fresh_bytes > 0) {
    all.push_back([this] {
      say("fresh memory");
      result_.fresh_bytes_per_second.push_back(measure_fresh_memory(options_.threads, check_));
    });
  }
  if (reads && warm_ && arguments_.options.io != IoMode::direct) all.push_back([this] { measure_cache(); });
  if (warm_) all.push_back([this] { start(true); });
  return all;
}

void Bench::say(const char* what) {
  line_.draw(fmt::format("round {} of {}: {}", round_, arguments_.rounds, what));
}

ChildResult Bench::run_child(const std::vector<std::string>& command) {
  ChildResult child = child_.run(command);
  check_();
  if (child.status == 0) return child;
  if (child.message.empty()) {
    child.message = fmt::format(
        "the process that measures ended with status {} and no word; if a signal ended it, free "
        "memory or load less at a time with --select",
        child.status);
  }
  throw std::runtime_error(child.message);
}

void Bench::leave_out(bool& wanted, bool asked_for, const char* what, const CacheState::Outcome& outcome) {
  wanted = false;
  if (asked_for) {
    throw Error(ErrorCode::io, fmt::format("there is no {} start to measure: {}", what, outcome.refusal),
                {arguments_.path.string(), {}, {}},
                fmt::format("leave --{} out, or measure where that is possible", what));
  }
  if (!cold_ && !warm_) {
    throw Error(ErrorCode::io, fmt::format("there is no start to measure, neither cold nor warm: {}", outcome.refusal),
                {arguments_.path.string(), {}, {}}, "copy the checkpoint to another disk, or free memory");
  }
  result_.notes.push_back({what, "left out: " + outcome.refusal});
}

/// Makes the page cache what a start of that kind should find; false where that kind is left out.
bool Bench::ready(bool warm) {
  bool& wanted = warm ? warm_ : cold_;
  if (!wanted) return false;
  const CacheState::Outcome outcome = warm ? cache_.make_warm(held_bytes_) : cache_.make_cold();
  cached_bytes_ = outcome.cached_bytes;
  if (outcome.refusal.empty()) return true;
  leave_out(wanted, warm ? arguments_.only_warm : arguments_.only_cold, warm ? "warm" : "cold", outcome);
  return false;
}

void Bench::start(bool warm) {
  say(warm ? "warm start" : "cold start");
  if (!ready(warm)) return;
  touch_memory(held_bytes_, options_.threads, check_);
  // Memory that is short may have cost pages of the cache; what cannot be kept is found by trying it once more.
  if (warm && cache_.cached_bytes() < cached_bytes_ && !ready(true)) return;
  std::vector<std::string> command = {"load"};
  command.insert(command.end(), arguments_.load_options.begin(), arguments_.load_options.end());
  command.insert(command.end(), {"--json", "--", arguments_.path.native()});
  const double busy_before = busy_seconds();
  const ChildResult child = run_child(command);
  others_seconds_ += busy_seconds() - busy_before - child.cpu_seconds;
  starts_seconds_ += child.seconds;
  Start measured = parse_start(child.output);
  measured.process_seconds = child.seconds;
  measured.process_cpu_seconds = child.cpu_seconds;
  measured.cached_bytes_before = cached_bytes_;
  (warm ? result_.warm : result_.cold).push_back(std::move(measured));
}

void Bench::measure_storage(std::size_t setting) {
  say("storage");
  // With O_DIRECT alone, bytes that are cached could still be taken from there by some file systems.
  if (cold_ && !ready(false)) return;
  if (!cold_ && !arguments_.only_warm) return;
  result_.storage[setting].bytes_per_second.push_back(storage_.measure(storage_settings[setting]));
}

void Bench::measure_cache() {
  say("page cache");
  if (!ready(true)) return;
  if (result_.cache_into_fresh_memory) touch_memory(std::min(held_bytes_, sample_bytes_max), options_.threads, check_);
  result_.cache_bytes_per_second.push_back(
      measure_page_cache(files_, options_.threads, result_.cache_into_fresh_memory, check_));
}

void Bench::measure_links() {
  say("links");
  std::string devices;
  for (const auto& link : result_.load.links) devices += (devices.empty() ? "" : ",") + link.device;
  // A process of its own: a driver starts once in each, and while this one held it, others would start faster.
  result_.links.push_back(parse_link_sample(run_child({"bench-link", "--device=" + devices}).output));
}

}  // namespace

void bench(const Arguments& arguments, Output& output, Interrupts& interrupts) {
  std::optional<OutputFile> picture;
  if (!arguments.plot.empty()) picture.emplace(arguments.plot, std::string(plot_first_bytes));
  const Checkpoint checkpoint = Checkpoint::open(arguments.path, arguments.options.threads);
  const Plan plan = make_plan(checkpoint, request_of(arguments, checkpoint), arguments.options);
  const BenchResult result = Bench(arguments, checkpoint, plan, interrupts).run();
  if (picture) {
    picture->begin().write(plot_bench(result));
    picture->finish();
  }
  if (arguments.json) {
    write_bench_json(output, result);
  } else {
    report_bench(output, result);
  }
}

}  // namespace sluice::tool
