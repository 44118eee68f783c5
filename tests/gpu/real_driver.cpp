// What tests ask of the simulator, for programs that are linked with this instead and run on the driver that the
// machine has. It answers what a driver can answer; a test that asks for more (a fault, a count of calls, another
// machine) is skipped at that moment, with the reason. Leaks and misuse a real driver does not tell of.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cuda/context.hpp"
#include "tests/sim/control.hpp"

namespace sluice::sim {
namespace {

// GoogleTest takes this exception for the end of a test whose verdict it has been told already.
[[noreturn]] void skip(const std::string& wish) {
  const std::string reason = "only the simulator " + wish;
  [&] { GTEST_SKIP() << reason; }();
  throw testing::AssertionException({testing::TestPartResult::kSkip, __FILE__, __LINE__, reason.c_str()});
}

bool is_usual(const Settings& settings) {
  const Settings usual;
  if (settings.driver_version != usual.driver_version || settings.initialized != usual.initialized) return false;
  if (settings.clock != usual.clock || settings.devices.size() != usual.devices.size()) return false;
  for (const DeviceSettings& device : settings.devices) {
    if (device.memory_bytes != usual.devices[0].memory_bytes) return false;
    if (device.compute_capability != usual.devices[0].compute_capability) return false;
    if (device.integrated != usual.devices[0].integrated) return false;
    if (device.virtual_memory != usual.devices[0].virtual_memory) return false;
    if (device.exports_memory != usual.devices[0].exports_memory) return false;
    if (device.rdma_to_memory != usual.devices[0].rdma_to_memory) return false;
    if (device.granularity != usual.devices[0].granularity) return false;
  }
  return true;
}

// A primary context that nobody retains is made anew by the next test, which takes most of a second.
void keep_contexts() {
  static const std::vector<std::unique_ptr<const Context>> contexts = [] {
    std::vector<std::unique_ptr<const Context>> kept;
    int count = 0;
    check(driver(), driver().cuDeviceGetCount(&count), "cuDeviceGetCount");
    while (static_cast<int>(kept.size()) < count) kept.push_back(std::make_unique<const Context>(kept.size()));
    return kept;
  }();
}

}  // namespace

bool is_simulated() {
  return false;
}

// The order of doing things, which policy and seed ask for, is the device's own.
void reset(const Settings& settings) {
  if (!is_usual(settings)) skip("is another machine or driver");
  keep_contexts();
}

std::vector<Violation> take_violations() {
  return {};
}

std::size_t check_leaks() {
  return 0;
}

void fail_call(std::string_view, std::uint64_t, cu::Result) {
  skip("fails when told to");
}

void hold_call(std::string_view) {
  skip("holds a call back");
}

void release_calls() {}

void forget_faults() {}

void before_call(std::uint64_t, std::function<void()>) {
  skip("says when a call is made");
}

std::size_t held_threads() {
  return 0;
}

// A driver's allocations are not the test's.
bool is_in_call() {
  return false;
}

void fail_allocation(std::uint64_t) {
  skip("can let an allocation fail");
}

void fail_operation(std::uint64_t, cu::Result) {
  skip("fails when told to");
}

Counters counters() {
  skip("counts calls");
}

std::vector<Created> created_memory() {
  skip("tells what was created");
}

Nanoseconds now() {
  skip("has a clock that stands");
}

std::optional<Nanoseconds> next_completion() {
  skip("has a clock that stands");
}

std::size_t advance_to(Nanoseconds) {
  skip("has a clock that stands");
}

std::size_t blocked_threads() {
  skip("has a clock that stands");
}

std::string_view name(Rule) {
  return "violation";
}

}  // namespace sluice::sim
