// What does the engine itself cost? Loads with the null reader onto the null device read and deliver nothing: what is
// left is planning's extents and deliveries on their way through the engine. The least of the runs counts. Onto a GPU,
// CPU ms show what its lane and driver add; the load itself takes what the link takes. Onto GPUs of the driver that
// does nothing (LD_LIBRARY_PATH=<build>/bench/null_driver) the lanes' own work is left, cast to DTYPE where one is
// given. Several devices (cuda:0,cuda:1) get all of it each: every extent concerns all of them.
//
// Sketch on paper: an extent is a file look-up, a slab, a read and a lane's work, some ten calls: 1 us. A delivery is a
// counter to decrement and a tensor to publish: 50 ns. A lane adds a wakeup of three threads an extent, and where it
// launches, a table entry of 40 bytes a delivery; to the engine's thread, a lock and a list's node: 100 ns.
//
// usage: bench_engine PATH [RUNS [DEVICES [DTYPE]]]
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "loader/base/stopwatch.hpp"
#include "sluice/sluice.hpp"

namespace {

struct Costs {
  double load_seconds = 1e9;
  double cpu_seconds = 1e9;
  double engine_seconds = 1e9;  // of processor time, of the engine's thread
  std::uint64_t extents = 0;
  std::uint64_t deliveries = 0;
  std::uint64_t tensors = 0;
};

/// Processor time so far of this process's threads of that name.
double thread_seconds(const std::string& name) {
  double nanoseconds = 0;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string its_name;
    std::getline(std::ifstream(thread.path() / "comm"), its_name);
    double its_nanoseconds = 0;
    if (its_name == name && std::ifstream(thread.path() / "schedstat") >> its_nanoseconds) {
      nanoseconds += its_nanoseconds;
    }
  }
  return nanoseconds / 1e9;
}

Costs measure(const sluice::Checkpoint& checkpoint, const char* select, std::uint64_t slab_bytes, int runs,
              const std::vector<sluice::DeviceId>& devices, std::optional<sluice::Dtype> cast) {
  sluice::Options options;
  options.reader = sluice::ReaderKind::null;
  options.slab_bytes = slab_bytes;
  sluice::Request request;
  request.devices = devices;
  sluice::Rule& rule = request.add(select);
  if (cast) rule.cast(*cast);
  const sluice::Plan plan = sluice::make_plan(checkpoint, request, options);
  sluice::Engine engine(options);
  engine.start(plan).wait();  // makes the engine's parts
  Costs costs;
  costs.extents = plan.costs().extents;
  costs.deliveries = plan.costs().deliveries;
  costs.tensors = plan.costs().devices[0].tensors;
  for (int run = 0; run < runs; ++run) {
    const double engine_before = thread_seconds("sluice-engine");
    const sluice::Stopwatch stopwatch;
    sluice::Load load = engine.start(plan);
    load.wait();
    costs.load_seconds = std::min(costs.load_seconds, load.statistics().load_seconds);
    costs.cpu_seconds = std::min(costs.cpu_seconds, stopwatch.cpu_seconds());
    costs.engine_seconds = std::min(costs.engine_seconds, thread_seconds("sluice-engine") - engine_before);
  }
  return costs;
}

}  // namespace

int main(int count, char** arguments) {
  const std::optional<sluice::Dtype> cast = count > 4 ? sluice::parse_dtype(arguments[4]) : std::nullopt;
  if (count < 2 || (count > 4 && !cast)) {
    fmt::print(stderr, "usage: bench_engine PATH [RUNS [DEVICES [DTYPE]]]\n");
    return 2;
  }
  const int runs = count > 2 ? std::max(1, std::atoi(arguments[2])) : 7;
  const auto devices = sluice::parse_devices(count > 3 ? arguments[3] : "null");
  const auto checkpoint = sluice::Checkpoint::open(arguments[1]);
  fmt::print(
      "| tensors | slab | extents | deliveries | load ms | CPU ms | ns an extent | ns a delivery | CPU ns an extent | "
      "of the engine's thread |\n");
  fmt::print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
  for (const char* const select : {"*", "*.weight"}) {
    for (const std::uint64_t slab_bytes : {1u << 20, 4u << 20, 16u << 20}) {
      const Costs costs = measure(checkpoint, select, slab_bytes, runs, devices, cast);
      const auto extents = static_cast<double>(costs.extents);
      fmt::print("| {} {} | {} MiB | {} | {} | {:.1f} | {:.1f} | {:.0f} | {:.0f} | {:.0f} | {:.0f} |\n", costs.tensors,
                 select, slab_bytes >> 20, costs.extents, costs.deliveries, costs.load_seconds * 1e3,
                 costs.cpu_seconds * 1e3, costs.load_seconds * 1e9 / extents,
                 costs.load_seconds * 1e9 / static_cast<double>(costs.deliveries), costs.cpu_seconds * 1e9 / extents,
                 costs.engine_seconds * 1e9 / extents);
    }
  }
  return 0;
}
