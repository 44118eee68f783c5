#include "tests/sim/control.hpp"

#include <utility>

#include "tests/sim/simulator.hpp"

namespace sluice::sim {
namespace {

template <typename Body>
auto locked(Body&& body) {
  const std::lock_guard<std::mutex> lock(simulator_lock());
  return body(simulator());
}

// What Faults counts beside calls, whose names begin with "cu".
constexpr std::string_view allocations = "memory";
constexpr std::string_view operations = "operation";

}  // namespace

bool is_simulated() {
  return true;
}

void reset(const Settings& settings) {
  const std::lock_guard<std::mutex> lock(simulator_lock());
  replace_simulator(settings);
}

std::vector<Violation> violations() {
  return locked([](Simulator& sim) { return sim.violations.all(); });
}

std::vector<Violation> take_violations() {
  return locked([](Simulator& sim) { return sim.violations.take(); });
}

std::size_t check_leaks() {
  return locked([](Simulator& sim) { return sim.check_leaks(); });
}

void fail_call(std::string_view call, std::uint64_t nth, cu::Result result) {
  locked([&](Simulator& sim) { sim.faults.plan(call, nth, result); });
}

void fail_allocation(std::uint64_t nth) {
  locked([&](Simulator& sim) { sim.faults.plan(allocations, nth, cu::Result::out_of_memory); });
}

void fail_operation(std::uint64_t nth, cu::Result result) {
  locked([&](Simulator& sim) { sim.faults.plan(operations, nth, result); });
}

void forget_faults() {
  locked([](Simulator& sim) { sim.faults.forget(); });
}

void hold_call(std::string_view call) {
  locked([&](Simulator& sim) { sim.held_call = call; });
}

void release_calls() {
  locked([](Simulator& sim) {
    sim.held_call.clear();
    sim.released.notify_all();
  });
}

void before_call(std::uint64_t nth, std::function<void()> then) {
  locked([&](Simulator& sim) {
    sim.calls_until_interruption = nth;
    sim.interruption = std::move(then);
  });
}

std::size_t held_threads() {
  return locked([](Simulator& sim) { return sim.held_threads; });
}

bool is_in_call() {
  return CallLock::is_held();
}

Counters counters() {
  return locked([](Simulator& sim) {
    Counters all = sim.counts;
    for (const auto& [name, uses] : sim.faults.used()) {
      if (uses > 0 && name != allocations && name != operations) all.calls.emplace(name, uses);
    }
    for (const auto& device : sim.devices) all.peak_bytes.push_back(device->memory.peak_bytes());
    return all;
  });
}

std::vector<Created> created_memory() {
  return locked([](Simulator& sim) {
    sim.drop_unused_memory();
    std::vector<Created> all;
    for (const auto& [number, its] : sim.virtual_memory.created) {
      all.push_back({its.device, its.bytes, its.exportable, its.open_to_rdma});
    }
    return all;
  });
}

Nanoseconds now() {
  return locked([](Simulator& sim) { return sim.timeline.now(); });
}

std::optional<Nanoseconds> next_completion() {
  return locked([](Simulator& sim) { return sim.timeline.next_completion(); });
}

std::size_t advance_to(Nanoseconds time) {
  return locked([&](Simulator& sim) { return sim.timeline.advance_to(time); });
}

std::size_t blocked_threads() {
  return locked([](Simulator& sim) { return sim.timeline.blocked_threads(); });
}

std::byte* peek(cu::DevicePointer pointer) {
  return locked([&](Simulator& sim) -> std::byte* {
    const auto place = sim.virtual_memory.place_of(pointer);
    for (const auto& device : sim.devices) {
      if (device->memory.owns(place.value_or(pointer))) return device->memory.view(place.value_or(pointer));
    }
    return nullptr;
  });
}

}  // namespace sluice::sim
