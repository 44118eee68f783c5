// The objects that `sluice bench --json` prints, and those that its processes hand to each other. The keys of the first
// are a contract, which docs/command-line.md lists.
#pragma once

#include "loader/tool/bench_result.hpp"
#include "loader/tool/output.hpp"
#include "loader/tool/start.hpp"

namespace sluice::tool {

void write_bench_json(Output& output, const BenchResult& result);

/// What the command `bench-link` prints; parse_link_sample() reads it.
void write_link_json(Output& output, const LinkSample& sample);

}  // namespace sluice::tool
