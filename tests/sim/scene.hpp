// For tests of the simulator: a program in small. It opens devices, and at its end gives everything back, as it should.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "tests/sim/control.hpp"
#include "tests/sim/driver_calls.hpp"

namespace sluice::sim {

/// Bytes, of what is allocated and copied where any number does.
inline constexpr std::size_t size = 1000;
inline constexpr std::size_t page_bytes = 4096;

inline std::vector<Rule> rules_of(const std::vector<Violation>& violations) {
  std::vector<Rule> rules;
  for (const Violation& violation : violations) rules.push_back(violation.rule);
  return rules;
}

inline void PrintTo(Rule rule, std::ostream* out) {
  *out << name(rule);
}

class Scene {
 public:
  explicit Scene(const Settings& settings = {}) {
    reset(settings);
    for (std::size_t i = 0; i < settings.devices.size(); ++i) {
      contexts.emplace_back();
      ok(cu::cuDevicePrimaryCtxRetain(&contexts.back(), static_cast<int>(i)));
    }
    if (!contexts.empty()) ok(cu::cuCtxSetCurrent(contexts[0]));
  }
  ~Scene() { reset(); }
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;

  static void ok(cu::Result result) { EXPECT_EQ(result, cu::Result::success); }

  cu::DevicePointer allocate(std::size_t bytes) {
    cu::DevicePointer pointer = 0;
    ok(cu::cuMemAlloc_v2(&pointer, bytes));
    allocations.push_back(pointer);
    return pointer;
  }
  /// Pinned memory, for all devices, full of `fill`.
  std::byte* pin(std::size_t bytes, int fill = 1) {
    void* memory = nullptr;
    ok(cu::cuMemHostAlloc(&memory, bytes, cu::host_alloc_portable));
    std::memset(memory, fill, bytes);
    pinned.push_back(memory);
    return static_cast<std::byte*>(memory);
  }
  cu::Stream stream(unsigned flags = cu::stream_non_blocking) {
    streams.emplace_back();
    ok(cu::cuStreamCreate(&streams.back(), flags));
    return streams.back();
  }
  cu::Event event(unsigned flags = cu::event_disable_timing) {
    events.emplace_back();
    ok(cu::cuEventCreate(&events.back(), flags));
    return events.back();
  }

  void copy_in(cu::DevicePointer target, const void* source, std::size_t bytes, cu::Stream where) {
    ok(cu::cuMemcpyHtoDAsync_v2(target, source, bytes, where));
  }
  /// `later` goes on only after what is now in `earlier`.
  void join(cu::Stream earlier, cu::Stream later) {
    const cu::Event done = event();
    ok(cu::cuEventRecord(done, earlier));
    ok(cu::cuStreamWaitEvent(later, done, 0));
  }
  static void synchronize(cu::Stream stream) { ok(cu::cuStreamSynchronize(stream)); }

  /// Waits for everything and gives it back; then nothing is left.
  void close() {
    for (const cu::Stream stream : streams) ok(cu::cuStreamSynchronize(stream));
    for (const cu::Event event : events) ok(cu::cuEventDestroy_v2(event));
    for (const cu::Stream stream : streams) ok(cu::cuStreamDestroy_v2(stream));
    for (const cu::DevicePointer pointer : allocations) ok(cu::cuMemFree_v2(pointer));
    for (void* memory : pinned) ok(cu::cuMemFreeHost(memory));
    for (std::size_t i = 0; i < contexts.size(); ++i) ok(cu::cuDevicePrimaryCtxRelease_v2(static_cast<int>(i)));
    check_leaks();
  }

  std::vector<cu::Context> contexts;
  std::vector<cu::DevicePointer> allocations;
  std::vector<void*> pinned;
  std::vector<cu::Stream> streams;
  std::vector<cu::Event> events;
};

inline constexpr Policy policies[] = {Policy::eager, Policy::lazy, Policy::never, Policy::random};

/// Plays a scene that is right, and once more with a mistake, under every policy: the first gives no violation, the
/// second one of the rule, and no other but for consequences, which depend on the policy.
inline void expect_caught(Rule rule, const std::function<void(Scene&, bool mistake)>& play,
                          std::vector<Rule> consequences = {}) {
  consequences.push_back(rule);
  for (const Policy policy : policies) {
    for (std::uint64_t seed = 1; seed <= (policy == Policy::random ? 10 : 1); ++seed) {
      SCOPED_TRACE("policy " + std::to_string(static_cast<int>(policy)) + ", seed " + std::to_string(seed));
      Settings settings;
      settings.policy = policy;
      settings.seed = seed;
      {
        Scene scene(settings);
        play(scene, false);
        scene.close();
        for (const Violation& violation : take_violations())
          ADD_FAILURE() << name(violation.rule) << ": " << violation.message;
      }
      Scene scene(settings);
      play(scene, true);
      for (const cu::Stream stream : scene.streams) cu::cuStreamSynchronize(stream);
      EXPECT_THAT(rules_of(take_violations()),
                  testing::AllOf(testing::Contains(rule), testing::Each(testing::AnyOfArray(consequences))));
    }
  }
}

}  // namespace sluice::sim
