// How long do open and plan take, beside the catalogue's size? Axes: the checkpoint (bench/open/make.py makes sparse
// ones of any size), threads. Contender: reference.py, the reference package opening the same shards. Sketch on paper:
// simdjson walks a GB of JSON a second and a core, entering a name in the index costs one cache miss. Usage: bench_open
// PATH [RUNS [THREADS]]; prints the median and the spread, warm, and checks nothing but the counts.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "sluice/checkpoint.hpp"
#include "sluice/plan.hpp"

int main(int count, char** arguments) {
  if (count < 2) {
    fmt::print(stderr, "usage: bench_open PATH [RUNS [THREADS]]\n");
    return 2;
  }
  const int runs = count > 2 ? std::max(1, std::atoi(arguments[2])) : 7;
  const unsigned threads = count > 3 ? static_cast<unsigned>(std::atoi(arguments[3])) : 0;
  std::vector<double> open_seconds;
  std::vector<double> both_seconds;
  std::size_t tensors = 0;
  std::size_t shards = 0;
  for (int run = 0; run < runs + 1; ++run) {
    const auto checkpoint = sluice::Checkpoint::open(arguments[1], threads);
    sluice::Request request;
    request.add("*");
    const sluice::Plan plan = sluice::make_plan(checkpoint, request);
    tensors = checkpoint.tensors().size();
    shards = checkpoint.shards().size();
    if (run == 0) continue;  // brings the headers into the page cache
    open_seconds.push_back(checkpoint.open_seconds());
    both_seconds.push_back(checkpoint.open_seconds() + plan.seconds());
  }
  std::ranges::sort(open_seconds);
  std::ranges::sort(both_seconds);
  const auto middle = static_cast<std::size_t>(runs / 2);
  fmt::print(
      "{} tensors, {} shards: open {:.1f} ms ({:.1f} to {:.1f}), open and plan {:.1f} ms ({:.1f} to {:.1f}), {:.0f} ns "
      "a tensor\n",
      tensors, shards, open_seconds[middle] * 1e3, open_seconds.front() * 1e3, open_seconds.back() * 1e3,
      both_seconds[middle] * 1e3, both_seconds.front() * 1e3, both_seconds.back() * 1e3,
      both_seconds[middle] * 1e9 / static_cast<double>(std::max<std::size_t>(tensors, 1)));
  return 0;
}
