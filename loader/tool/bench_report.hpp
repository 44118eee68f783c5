// What `sluice bench` says to people at its end: a table and a sentence for each kind of start. Names are escaped;
// nothing here touches the machine.
#pragma once

#include "loader/tool/bench_result.hpp"
#include "loader/tool/output.hpp"

namespace sluice::tool {

void report_bench(Output& output, const BenchResult& result);

}  // namespace sluice::tool
