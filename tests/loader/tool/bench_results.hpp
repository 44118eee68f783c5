// What `sluice bench` might have measured, for tests of what is made of it.
#pragma once

#include "loader/tool/bench_result.hpp"

namespace sluice::tool {

inline Start start_of(double seconds, double cpu_seconds) {
  Start start;
  start.seconds = seconds;
  start.process_seconds = seconds + 0.1;
  start.open_seconds = 0.01;
  start.load_seconds = seconds - 0.01;
  start.cpu_seconds = cpu_seconds;
  start.bytes = start.delivered_bytes = 1'000'000'000;
  start.peak_resident_bytes = 300u << 20;
  start.peak_staging_bytes = 8u << 20;
  start.reader = "uring";
  start.io = "direct";
  return start;
}

/// Three rounds of 1 GB from a disk of 2 GB/s, on two processors, onto the host.
inline BenchResult typical_result() {
  BenchResult result;
  result.machine = {"Some Processor", 2, 8ull << 30, "Linux 6.1.0", "ext4", {}};
  result.checkpoint = {"/models/one", 2, 10, 1'000'000'000};
  result.load.devices = {"host"};
  result.load.read_bytes = result.load.fresh_bytes = 1'000'000'000;
  result.storage = {{{1 << 20, 16}, {1.8e9, 1.9e9, 2.4e9}}, {{4 << 20, 8}, {2e9, 1.5e9, 2.2e9}}};
  result.storage_reader = "uring";
  result.threads = 2;
  result.cache_bytes_per_second = {10e9, 11e9, 9e9};
  result.cache_into_fresh_memory = true;
  result.fresh_bytes_per_second = {12e9, 13e9, 14e9};
  for (const double seconds : {0.6, 0.5, 0.8}) result.cold.push_back(start_of(seconds, 0.1));
  for (const double seconds : {0.15, 0.12, 0.2}) {
    result.warm.push_back(start_of(seconds, 0.15));
    result.warm.back().io = "buffered";
  }
  for (Start& start : result.cold) start.direct_bytes = start.bytes;
  return result;
}

}  // namespace sluice::tool
