// Goal: calls, allocations and queued work fail when they are told to, with the consequences that they have on a real
// device; what is never given back is found; and the process's end is one for the driver too.
// Method: planned faults and planted leaks, one of each kind; for the end, child processes.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "tests/sim/scene.hpp"

namespace sluice::sim {
namespace {

using cu::Result;

TEST(Faults, HitTheNthUseOfACallOnly) {
  Scene scene;
  fail_call("cuStreamCreate", 2, Result::unknown);
  cu::Stream stream = nullptr;
  scene.stream();
  EXPECT_EQ(cu::cuStreamCreate(&stream, 0), Result::unknown);
  scene.stream();
  EXPECT_EQ(counters().calls.at("cuStreamCreate"), 3u);
  fail_call("cuStreamCreate", 1, Result::unknown);
  forget_faults();
  scene.stream();
  scene.close();
  EXPECT_THAT(take_violations(), testing::IsEmpty());
}

TEST(Faults, OfCallsThatGiveBackDoNotKeepThemFromIt) {
  Scene scene;
  scene.stream();
  scene.allocate(size);
  scene.pin(size);
  scene.event();
  for (const char* call :
       {"cuStreamDestroy", "cuMemFree", "cuMemFreeHost", "cuEventDestroy", "cuDevicePrimaryCtxRelease"}) {
    fail_call(call, 1, Result::unknown);
  }
  EXPECT_EQ(cu::cuStreamDestroy_v2(scene.streams[0]), Result::unknown);
  EXPECT_EQ(cu::cuMemFree_v2(scene.allocations[0]), Result::unknown);
  EXPECT_EQ(cu::cuMemFreeHost(scene.pinned[0]), Result::unknown);
  EXPECT_EQ(cu::cuEventDestroy_v2(scene.events[0]), Result::unknown);
  EXPECT_EQ(cu::cuDevicePrimaryCtxRelease_v2(0), Result::unknown);
  EXPECT_EQ(cu::cuDevicePrimaryCtxRelease_v2(1), Result::success);
  EXPECT_EQ(check_leaks(), 0u);
  EXPECT_THAT(take_violations(), testing::IsEmpty());
}

TEST(Faults, HitTheNthAllocation) {
  Scene scene;
  fail_allocation(2);
  scene.allocate(size);
  cu::DevicePointer pointer = 0;
  EXPECT_EQ(cu::cuMemAlloc_v2(&pointer, size), Result::out_of_memory);
  scene.allocate(size);
}

TEST(Faults, OfQueuedWorkKillTheContext) {
  for (const Policy policy : policies) {
    Settings settings;
    settings.policy = policy;
    Scene scene(settings);
    const auto target = scene.allocate(size);
    auto* slab = scene.pin(size);
    const auto stream = scene.stream();
    const auto done = scene.event();
    fail_operation(2, Result::illegal_address);
    scene.copy_in(target, slab, size, stream);
    cu::cuMemcpyHtoDAsync_v2(target, slab, size, stream);
    cu::cuMemcpyHtoDAsync_v2(target, slab, size, stream);
    cu::cuEventRecord(done, stream);
    EXPECT_EQ(cu::cuEventSynchronize(done), Result::illegal_address);
    EXPECT_EQ(counters().copies_in, 1u);

    // Every call says so, those that give something back too; and they do.
    std::size_t bytes = 0;
    cu::DevicePointer pointer = 0;
    cu::Context context = nullptr;
    EXPECT_EQ(cu::cuMemGetInfo_v2(&bytes, &bytes), Result::illegal_address);
    EXPECT_EQ(cu::cuMemAlloc_v2(&pointer, size), Result::illegal_address);
    EXPECT_EQ(cu::cuStreamQuery(stream), Result::illegal_address);
    EXPECT_EQ(cu::cuEventQuery(done), Result::illegal_address);
    EXPECT_EQ(cu::cuDevicePrimaryCtxRetain(&context, 0), Result::illegal_address);
    EXPECT_EQ(cu::cuStreamDestroy_v2(stream), Result::illegal_address);
    EXPECT_EQ(cu::cuEventDestroy_v2(done), Result::illegal_address);
    EXPECT_EQ(cu::cuMemFree_v2(target), Result::illegal_address);
    EXPECT_EQ(cu::cuMemFreeHost(slab), Result::illegal_address);
    EXPECT_EQ(cu::cuDevicePrimaryCtxRelease_v2(0), Result::illegal_address);
    EXPECT_THAT(take_violations(), testing::IsEmpty());

    // The other device lives.
    Scene::ok(cu::cuCtxSetCurrent(scene.contexts[1]));
    Scene::ok(cu::cuMemGetInfo_v2(&bytes, &bytes));
    Scene::ok(cu::cuDevicePrimaryCtxRelease_v2(1));
    EXPECT_EQ(check_leaks(), 0u);
  }
}

TEST(Faults, LeaveWhatWasLostOutOfTheLeaks) {
  Scene scene;
  const auto target = scene.allocate(size);
  fail_operation(1);
  cu::cuMemcpyHtoDAsync_v2(target, scene.pin(size), size, scene.stream());
  Scene::ok(cu::cuDevicePrimaryCtxRelease_v2(1));
  EXPECT_EQ(check_leaks(), 0u);
}

TEST(Faults, ReachAThreadThatWaits) {
  Settings settings;
  settings.clock = Clock::stepped;
  Scene scene(settings);
  const auto stream = scene.stream();
  fail_operation(1);
  scene.copy_in(scene.allocate(size), scene.pin(size), size, stream);
  std::thread waiter([&] {
    Scene::ok(cu::cuCtxSetCurrent(scene.contexts[0]));
    EXPECT_EQ(cu::cuStreamSynchronize(stream), Result::illegal_address);
  });
  while (blocked_threads() == 0) std::this_thread::yield();
  EXPECT_EQ(advance_to(*next_completion()), 1u);
  waiter.join();
}

/// A leak of each kind: what makes it, and how it is undone.
TEST(Interruptions, ComeOnceBeforeTheNthCallOnTheThreadThatMakesIt) {
  Scene scene;
  std::vector<std::uint64_t> made;  // calls, when it came
  before_call(2, [&] { made.push_back(counters().calls.at("cuStreamCreate")); });
  for (int i = 0; i < 3; ++i) scene.stream();
  EXPECT_THAT(made, testing::ElementsAre(1));
  scene.close();
  before_call(1, [&] { made.push_back(0); });
  reset();
  { const Scene other; }
  EXPECT_THAT(made, testing::SizeIs(1)) << "a reset forgets it";
}

TEST(Leaks, AreFoundWhateverWasForgotten) {
  struct Thing {
    std::function<void()> make;
    std::function<void()> give_back;
  };
  static cu::DevicePointer pointer = 0;
  static cu::Stream stream = nullptr;
  static cu::Event event = nullptr;
  static void* memory = nullptr;
  static cu::Library library = nullptr;
  static cu::Module module = nullptr;
  static std::byte plain[size];
  static const char* text = ".version 6.3\n.target sm_75\n.address_size 64\n.visible .entry k() { ret; }\n";
  const std::vector<Thing> things = {
      {[] { cu::cuMemAlloc_v2(&pointer, size); }, [] { cu::cuMemFree_v2(pointer); }},
      {[] { cu::cuStreamCreate(&stream, 1); }, [] { cu::cuStreamDestroy_v2(stream); }},
      {[] { cu::cuEventCreate(&event, 2); }, [] { cu::cuEventDestroy_v2(event); }},
      {[] { cu::cuMemHostAlloc(&memory, size, 1); }, [] { cu::cuMemFreeHost(memory); }},
      {[] { cu::cuMemHostRegister_v2(plain, size, 1); }, [] { cu::cuMemHostUnregister(plain); }},
      {[] { cu::cuLibraryLoadData(&library, text, nullptr, nullptr, 0, nullptr, nullptr, 0); },
       [] { cu::cuLibraryUnload(library); }},
      {[] { cu::cuModuleLoadData(&module, text); }, [] { cu::cuModuleUnload(module); }},
      {[] {
         cu::Context context = nullptr;
         cu::cuDevicePrimaryCtxRetain(&context, 0);
       },
       [] { cu::cuDevicePrimaryCtxRelease_v2(0); }},
  };
  for (std::size_t i = 0; i < things.size(); ++i) {
    SCOPED_TRACE(i);
    for (const bool forgotten : {false, true}) {
      Scene scene;
      things[i].make();
      if (!forgotten) things[i].give_back();
      scene.close();
      const auto found = rules_of(take_violations());
      EXPECT_EQ(found.empty(), !forgotten);
      EXPECT_THAT(found, testing::Each(Rule::leak));
    }
  }
}

TEST(Contexts, AreReleasedAsOftenAsRetained) {
  expect_caught(Rule::released_early, [](Scene& scene, bool mistake) {
    cu::Context again = nullptr;
    if (!mistake) Scene::ok(cu::cuDevicePrimaryCtxRetain(&again, 0));
    cu::cuDevicePrimaryCtxRelease_v2(0);
    if (mistake) cu::cuDevicePrimaryCtxRelease_v2(0);
    static_cast<void>(scene);
  });
}

TEST(Contexts, AreCurrentOnOneThreadOnly) {
  Scene scene;
  cu::DevicePointer pointer = 0;
  std::thread([&] {
    EXPECT_EQ(cu::cuMemAlloc_v2(&pointer, size), Result::invalid_context);
    Scene::ok(cu::cuCtxPushCurrent_v2(scene.contexts[1]));
    Scene::ok(cu::cuCtxPushCurrent_v2(scene.contexts[0]));
    scene.allocate(size);
    cu::Context context = nullptr;
    Scene::ok(cu::cuCtxPopCurrent_v2(&context));
    EXPECT_EQ(context, scene.contexts[0]);
    Scene::ok(cu::cuCtxGetCurrent(&context));
    EXPECT_EQ(context, scene.contexts[1]);
    Scene::ok(cu::cuCtxSetCurrent(nullptr));
    EXPECT_EQ(cu::cuMemAlloc_v2(&pointer, size), Result::invalid_context);
    EXPECT_EQ(cu::cuCtxPopCurrent_v2(&context), Result::invalid_context);
  }).join();
  scene.close();
  EXPECT_EQ(cu::cuMemAlloc_v2(&pointer, size), Result::context_is_destroyed);
  EXPECT_EQ(cu::cuCtxSetCurrent(scene.contexts[0]), Result::invalid_context);
}

TEST(Start, NeedsInitAndDevices) {
  Settings settings;
  settings.initialized = false;
  reset(settings);
  int count = 0;
  EXPECT_EQ(cu::cuDeviceGetCount(&count), Result::not_initialized);
  Scene::ok(cu::cuInit(0));
  Scene::ok(cu::cuDeviceGetCount(&count));
  EXPECT_EQ(count, 2);
  settings.devices.clear();
  reset(settings);
  EXPECT_EQ(cu::cuInit(0), Result::no_device);
  reset();
}

TEST(Start, DoesNotSurviveAFork) {
  Scene scene;
  const pid_t child = fork();
  if (child == 0) {
    int count = 0;
    _exit(cu::cuInit(0) == Result::not_initialized && cu::cuDeviceGetCount(&count) == Result::not_initialized ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(ProcAddress, DependsOnTheVersionAskedForAndOnTheDrivers) {
  Settings settings;
  settings.driver_version = 12000;
  reset(settings);
  void* entry = nullptr;
  cu::ProcAddressStatus status{};
  const auto ask = [&](const char* name, int version) {
    return cu::cuGetProcAddress_v2(name, &entry, version, 1, &status);
  };
  Scene::ok(ask("cuMemAlloc", 3020));
  EXPECT_EQ(entry, reinterpret_cast<void*>(&cu::cuMemAlloc_v2));
  Scene::ok(ask("cuMemAlloc", 2000));
  EXPECT_EQ(entry, nullptr);
  EXPECT_EQ(status, cu::ProcAddressStatus::version_not_sufficient);
  Scene::ok(ask("cuNoSuchCall", 12000));
  EXPECT_EQ(entry, nullptr);
  EXPECT_EQ(status, cu::ProcAddressStatus::symbol_not_found);
  EXPECT_EQ(ask("cuMemAlloc", 12010), Result::invalid_value);
  EXPECT_EQ(cu::cuGetProcAddress("cuMemAlloc", &entry, 2000, 1), Result::not_found);
  Scene::ok(cu::cuGetProcAddress("cuLibraryLoadData", &entry, 12000, 1));
  settings.driver_version = 11080;
  reset(settings);
  EXPECT_EQ(cu::cuGetProcAddress("cuLibraryLoadData", &entry, 12000, 1), Result::invalid_value);
  Scene::ok(ask("cuLibraryLoadData", 11080));
  EXPECT_EQ(entry, nullptr);
  EXPECT_EQ(status, cu::ProcAddressStatus::symbol_not_found);
  reset();
}

/// What a program does whose violations end it: resets the simulator, so that it belongs to this (child) process.
void begin_strict() {
  Settings settings;
  settings.abort_on_violation = true;
  reset(settings);
  cu::Context context = nullptr;
  cu::cuDevicePrimaryCtxRetain(&context, 0);
  cu::cuCtxSetCurrent(context);
}

TEST(EndDeathTest, ComesAtOnceWithAViolation) {
  EXPECT_DEATH(
      {
        begin_strict();
        cu::cuMemFree_v2(4711);
      },
      "simulated CUDA driver: foreign memory: cuMemFree of 0x1267");
}

TEST(EndDeathTest, IsNotCleanWithALeak) {
  EXPECT_DEATH(
      {
        begin_strict();
        std::exit(0);
      },
      "leak: on device 0: the primary context");
  EXPECT_EXIT(
      {
        begin_strict();
        cu::cuDevicePrimaryCtxRelease_v2(0);
        std::exit(0);
      },
      testing::ExitedWithCode(0), "");
}

TEST(EndDeathTest, DoesNotForgetWhatNobodyTook) {
  EXPECT_DEATH(
      {
        reset();
        cu::Context context = nullptr;
        cu::cuDevicePrimaryCtxRetain(&context, 0);
        cu::cuCtxSetCurrent(context);
        cu::cuMemFree_v2(4711);
        cu::cuDevicePrimaryCtxRelease_v2(0);
        std::exit(0);
      },
      "foreign memory");
}

void check_that_the_driver_is_gone() {
  int count = 0;
  _exit(cu::cuDeviceGetCount(&count) == Result::deinitialized ? 42 : 1);
}

TEST(EndDeathTest, LeavesNoDriverForLateDestructors) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a process of its own, in which the simulator comes second
  EXPECT_EXIT(
      {
        std::atexit(check_that_the_driver_is_gone);
        reset();
        std::exit(0);
      },
      testing::ExitedWithCode(42), "");
}

TEST(EnvironmentDeathTest, SetsWhatAProgramCannot) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  setenv("SLUICE_SIM_DEVICES", "5", 1);
  setenv("SLUICE_SIM_MEMORY", "123456", 1);
  const auto run = [] {
    int count = 0;
    std::size_t bytes = 0;
    cu::Context context = nullptr;
    if (cu::cuDeviceGetCount(&count) != Result::not_initialized) _exit(100);
    cu::cuInit(0);
    cu::cuDeviceGetCount(&count);
    cu::cuDevicePrimaryCtxRetain(&context, 4);
    cu::cuCtxSetCurrent(context);
    cu::cuMemGetInfo_v2(&bytes, &bytes);
    cu::cuDevicePrimaryCtxRelease_v2(4);
    std::exit(bytes == 123456 ? count : 101);
  };
  EXPECT_EXIT(run(), testing::ExitedWithCode(5), "");
  setenv("SLUICE_SIM_POLICY", "never", 1);
  const auto ask_ten_times = [] {
    cu::cuInit(0);
    cu::Context context = nullptr;
    cu::Event event = nullptr;
    cu::cuDevicePrimaryCtxRetain(&context, 0);
    cu::cuCtxSetCurrent(context);
    cu::cuEventCreate(&event, cu::event_disable_timing);
    cu::cuEventRecord(event, nullptr);
    int refusals = 0;
    for (int i = 0; i < 10; ++i) refusals += cu::cuEventQuery(event) == Result::not_ready ? 1 : 0;
    _exit(refusals);
  };
  EXPECT_EXIT(ask_ten_times(), testing::ExitedWithCode(10), "");
  setenv("SLUICE_SIM_POLICY", "hasty", 1);
  EXPECT_EXIT(cu::cuInit(0), testing::ExitedWithCode(2), "SLUICE_SIM_POLICY=hasty is not among its values");
  setenv("SLUICE_SIM_POLICY", "random", 1);
  setenv("SLUICE_SIM_SEED", "-1", 1);
  EXPECT_EXIT(cu::cuInit(0), testing::ExitedWithCode(2), "SLUICE_SIM_SEED=-1 is not among its values");
  for (const char* name : {"SLUICE_SIM_DEVICES", "SLUICE_SIM_MEMORY", "SLUICE_SIM_POLICY", "SLUICE_SIM_SEED"})
    unsetenv(name);
}

}  // namespace
}  // namespace sluice::sim
