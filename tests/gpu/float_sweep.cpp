// Goal: the kernel on the GPU casts each of the 2^32 floats to every other format as the host does, to the bit.
// Method: bit patterns in order, 2^22 a launch, each result beside cast_elements()'s, whose own sweep and tests say
// what is right. A thread a format. usage: gpu_float_sweep [COUNT [SECONDS]]: COUNT floats, evenly spread where they
// are not all; what SECONDS did not suffice for is said.
#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <thread>
#include <vector>

#include "loader/device/array_cast.hpp"
#include "tests/cuda/deliveries.hpp"
#include "tests/gpu/gpu_runner.hpp"
#include "tests/loader/support/scalar_cast.hpp"

namespace sluice {
namespace {

constexpr std::uint64_t floats = std::uint64_t{1} << 32;
constexpr std::uint64_t launch_floats_max = std::uint64_t{1} << 22;

struct Task {
  std::uint64_t count = floats;
  std::chrono::steady_clock::time_point end;
};

// How many were compared, all of them equal. Throws where one is not.
std::uint64_t sweep(const Task& task, Dtype to) {
  const std::uint64_t launch_floats = std::min(task.count, launch_floats_max);
  const std::uint64_t step = floats / task.count;  // an odd one meets all low bits, too
  Deliveries deliveries;
  deliveries.add(f32, to, one_row(0, 0, static_cast<std::uint32_t>(launch_floats * 4)));
  const PlanData& plan = deliveries.plan();
  std::vector<std::byte> table(table_bytes(1));
  const DeliveryTable counts = write_delivery_table(plan, Targets{}, plan.deliveries, table).value();

  GpuRunner kernel = GpuRunner::shipped();
  std::vector<std::byte> source(align_up(launch_floats * 4, table_alignment_bytes));
  std::vector<std::byte> target(launch_floats * bits(to) / 8);
  std::vector<std::byte> want(target.size());
  std::uint64_t done = 0;
  while (done + launch_floats <= task.count && std::chrono::steady_clock::now() < task.end) {
    for (std::uint64_t i = 0; i < launch_floats; ++i) {
      const auto pattern = static_cast<std::uint32_t>((done + i) * (step | 1));
      std::memcpy(&source[i * 4], &pattern, 4);
    }
    kernel.launch(source, table, counts, target, 0);
    cast_elements(f32, source.data(), to, want.data(), launch_floats);
    const auto wrong = std::mismatch(target.begin(), target.end(), want.begin()).first;
    if (wrong != target.end()) {
      std::uint32_t pattern = 0;
      std::memcpy(&pattern, &source[static_cast<std::size_t>(wrong - target.begin()) / (bits(to) / 8) * 4], 4);
      throw std::runtime_error(fmt::format("F32 {:#010x} to {} is wrong", pattern, name(to)));
    }
    done += launch_floats;
  }
  return done;
}

int sweep_all(const Task& task) {
  std::atomic<int> failures = 0;
  std::vector<std::thread> threads;
  for (const Dtype to : castable_dtypes) {
    if (to == f32) continue;
    threads.emplace_back([&task, &failures, to] {
      try {
        const std::uint64_t done = sweep(task, to);
        fmt::print("F32 to {}: {} of {} floats, all as on the host\n", name(to), done, floats);
        if (done == 0) ++failures;
      } catch (const std::exception& error) {
        fmt::print("F32 to {}: {}\n", name(to), error.what());
        ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  sluice::Task task;
  if (argc > 1) task.count = std::clamp<std::uint64_t>(std::strtoull(argv[1], nullptr, 10), 1, sluice::floats);
  task.end = std::chrono::steady_clock::now() + std::chrono::seconds(argc > 2 ? std::atoi(argv[2]) : 3600);
  return sluice::sweep_all(task);
}
