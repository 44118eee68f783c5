#include "sluice/load.hpp"

#include <unistd.h>

#include <atomic>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "loader/tool/commands.hpp"
#include "loader/tool/digest.hpp"
#include "loader/tool/json.hpp"
#include "loader/tool/origins.hpp"
#include "loader/tool/progress.hpp"
#include "loader/tool/report.hpp"
#include "loader/tool/request_of.hpp"
#include "loader/tool/trace_file.hpp"
#include "sluice/checkpoint.hpp"
#include "sluice/engine.hpp"
#include "sluice/plan.hpp"

namespace sluice::tool {

namespace {

void wait_for(Load& load, Interrupts& interrupts) {
  ProgressLine line(STDERR_FILENO);
  std::function<void()> draw;
  if (line.is_visible()) draw = [&] { line.draw(load.progress()); };
  try {
    const Interrupts::Guard guard(
        interrupts, [&] { load.cancel(); }, draw);
    load.wait();
  } catch (...) {
    line.clear();
    interrupts.check();  // what a cancelled load throws is of no interest to who cancelled it
    throw;
  }
  line.clear();
  interrupts.check();
}

std::vector<std::string> digests_of(const Load& load, const std::vector<Tensor>& tensors, const Options& options,
                                    Interrupts& interrupts) {
  std::atomic<bool> stop = false;
  std::vector<std::string> digests;
  {
    const Interrupts::Guard guard(interrupts, [&] { stop = true; });
    digests = sha256_digests(load, tensors, resolve(options).threads, stop);
  }
  interrupts.check();
  return digests;
}

/// With a budget: takes tensors as they arrive, and lets go of each, so that there is memory for the next. `tensors`
/// are the plan's; they become those that arrived. Returns their digests if `digest`, else nothing.
std::vector<std::string> take_in_turn(Load& load, std::vector<Tensor>& tensors, bool digest, Interrupts& interrupts) {
  std::map<std::pair<std::string_view, DeviceId>, std::size_t> place;
  for (std::size_t i = 0; i < tensors.size(); ++i) place.emplace(std::pair(tensors[i].name, tensors[i].device), i);
  std::vector<std::string> digests(digest ? tensors.size() : 0);
  std::atomic<bool> stop = false;
  try {
    const Interrupts::Guard guard(interrupts, [&] {
      stop = true;
      load.cancel();
    });
    for (const Tensor& tensor : load) {
      const std::size_t at = place.at({tensor.name, tensor.device});
      tensors[at] = tensor;
      if (digest) digests[at] = sha256_digests(load, {&tensor, 1}, 1, stop).front();
      load.drop(tensor);
    }
    load.wait();
  } catch (...) {
    interrupts.check();
    throw;
  }
  interrupts.check();
  return digests;
}

/// An interrupt ends it, too, and leaves the file as it was.
void write_trace(TraceFile& file, const Trace& trace, Interrupts& interrupts) {
  const Interrupts::Guard guard(interrupts, [] {});
  file.write(trace, [&] { interrupts.check(); });
}

}  // namespace

void load(const Arguments& arguments, Output& output, Interrupts& interrupts) {
  std::optional<TraceFile> trace_file;
  if (!arguments.trace.empty()) trace_file.emplace(arguments.trace);
  Engine engine(arguments.options);
  engine.prepare(arguments.devices);
  const Checkpoint checkpoint = Checkpoint::open(arguments.path, arguments.options.threads);
  const Request request = request_of(arguments, checkpoint);
  const Plan plan = make_plan(checkpoint, request, arguments.options);
  Load load = engine.start(plan);
  std::vector<Tensor> tensors = plan.tensors();
  std::vector<std::string> digests;
  const bool in_turn = request.budget_bytes != 0;
  if (in_turn) {
    digests = take_in_turn(load, tensors, arguments.digest, interrupts);
  } else {
    wait_for(load, interrupts);
  }

  // Taken before digests and listings, which would raise the peaks that they tell of.
  const Stats stats = load.statistics();
  if (!in_turn) {
    for (Tensor& tensor : tensors) tensor = load.wait(tensor.name, tensor.device);
  }
  if (trace_file) {
    write_trace(*trace_file, load.trace(), interrupts);
    interrupts.check();
  }
  if (arguments.digest && !in_turn) digests = digests_of(load, tensors, arguments.options, interrupts);

  if (arguments.json) {
    std::optional<Origins> origins;
    if (!arguments.rules.empty()) origins.emplace(checkpoint, request);
    write_load_json(output, tensors, digests, stats, origins ? &*origins : nullptr);
  } else {
    report_load(output, checkpoint, tensors, digests, stats);
  }
}

}  // namespace sluice::tool
