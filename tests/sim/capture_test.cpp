// Goal: captures forbid to threads what the modes of both say, and are spoiled by what is forbidden.
// Method: one thread captures while another, or itself, makes each kind of call. Quotations are of the CUDA Driver API
// reference manual.
#include "tests/sim/capture.hpp"

#include <sys/mman.h>

#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "tests/sim/scene.hpp"

namespace sluice::sim {
namespace {

using cu::CaptureMode;
using cu::CaptureStatus;
using cu::Result;
using testing::ElementsAre;

constexpr CaptureMode modes[] = {CaptureMode::global, CaptureMode::per_thread, CaptureMode::relaxed};

CaptureMode exchange(CaptureMode mode) {
  Scene::ok(cu::cuThreadExchangeStreamCaptureMode(&mode));
  return mode;
}

CaptureStatus status(cu::Stream stream) {
  CaptureStatus status{};
  Scene::ok(cu::cuStreamIsCapturing(stream, &status));
  return status;
}

/// Ends a capture, and gives back the graph if one came of it.
Result end(cu::Stream stream) {
  cu::Graph graph = nullptr;
  const Result result = cu::cuStreamEndCapture(stream, &graph);
  EXPECT_EQ(graph != nullptr, result == Result::success);
  if (graph != nullptr) Scene::ok(cu::cuGraphDestroy(graph));
  return result;
}

/// What `calls` answers in a thread of that mode beside a capture of another thread, and what the end of that does.
std::pair<Result, Result> beside(Scene& scene, CaptureMode captures, CaptureMode calls,
                                 const std::function<Result()>& call) {
  const cu::Stream stream = scene.stream();
  Scene::ok(cu::cuStreamBeginCapture_v2(stream, captures));
  Result answer{};
  std::thread([&] {
    Scene::ok(cu::cuCtxSetCurrent(scene.contexts[0]));
    exchange(calls);
    answer = call();
    exchange(CaptureMode::global);
    Scene::ok(cu::cuCtxSetCurrent(nullptr));
  }).join();
  return {answer, end(stream)};
}

TEST(Capture, ForbidsToOtherThreadsWhatBothModesSay) {
  for (const CaptureMode captures : modes) {
    for (const CaptureMode calls : modes) {
      SCOPED_TRACE(std::to_string(static_cast<int>(captures)) + " " + std::to_string(static_cast<int>(calls)));
      Scene scene;
      cu::DevicePointer pointer = 0;
      const auto [answer, ended] = beside(scene, captures, calls, [&] { return cu::cuMemAlloc_v2(&pointer, 1); });
      const bool forbidden = captures == CaptureMode::global && calls == CaptureMode::global;
      EXPECT_EQ(answer, forbidden ? Result::stream_capture_unsupported : Result::success);
      EXPECT_EQ(ended, forbidden ? Result::stream_capture_invalidated : Result::success);
      if (!forbidden) scene.allocations.push_back(pointer);
      scene.close();
      EXPECT_TRUE(take_violations().empty());
    }
  }
}

TEST(Capture, ForbidsToItsOwnThreadUnlessOneOfTheModesIsRelaxed) {
  for (const CaptureMode captures : modes) {
    for (const CaptureMode calls : modes) {
      SCOPED_TRACE(std::to_string(static_cast<int>(captures)) + " " + std::to_string(static_cast<int>(calls)));
      Scene scene;
      const cu::Stream stream = scene.stream();
      Scene::ok(cu::cuStreamBeginCapture_v2(stream, captures));
      exchange(calls);
      std::size_t bytes = 0;
      const bool forbidden = captures != CaptureMode::relaxed && calls != CaptureMode::relaxed;
      EXPECT_EQ(cu::cuMemGetInfo_v2(&bytes, &bytes), forbidden ? Result::stream_capture_unsupported : Result::success);
      EXPECT_EQ(status(stream), forbidden ? CaptureStatus::invalidated : CaptureStatus::active);
      EXPECT_EQ(end(stream), forbidden ? Result::stream_capture_invalidated : Result::success);
      EXPECT_EQ(status(stream), CaptureStatus::none);
      exchange(CaptureMode::global);
      scene.close();
      EXPECT_TRUE(take_violations().empty());
    }
  }
}

struct NamedCall {
  const char* name;
  std::function<Result(Scene&)> make;
};

TEST(Capture, IsSpoiledByWhateverAllocatesPinsLoadsOrWaits) {
  static std::byte page[4096];
  cu::DevicePointer pointer = 0;
  void* memory = nullptr;
  cu::Event event = nullptr;
  cu::Stream stream = nullptr;
  cu::Module module = nullptr;
  cu::Library library = nullptr;
  cu::Context context = nullptr;
  cu::MemoryHandle created = 0;
  const cu::MemoryProperties properties;
  const std::vector<NamedCall> calls = {
      {"cuMemAlloc", [&](Scene&) { return cu::cuMemAlloc_v2(&pointer, 1); }},
      {"cuMemFree", [&](Scene& its) { return cu::cuMemFree_v2(its.allocations[0]); }},
      {"cuMemHostAlloc", [&](Scene&) { return cu::cuMemHostAlloc(&memory, 1, 0); }},
      {"cuMemFreeHost", [&](Scene& its) { return cu::cuMemFreeHost(its.pinned[0]); }},
      {"cuMemHostRegister", [&](Scene&) { return cu::cuMemHostRegister_v2(page, sizeof page, 0); }},
      {"cuMemHostUnregister", [&](Scene&) { return cu::cuMemHostUnregister(page); }},
      {"cuMemAddressReserve", [&](Scene&) { return cu::cuMemAddressReserve(&pointer, 4096, 0, 0, 0); }},
      {"cuMemAddressFree", [&](Scene&) { return cu::cuMemAddressFree(0, 4096); }},
      {"cuMemCreate", [&](Scene&) { return cu::cuMemCreate(&created, std::size_t{2} << 20, &properties, 0); }},
      {"cuMemRelease", [&](Scene&) { return cu::cuMemRelease(0); }},
      {"cuMemMap", [&](Scene&) { return cu::cuMemMap(0, 4096, 0, 0, 0); }},
      {"cuMemUnmap", [&](Scene&) { return cu::cuMemUnmap(0, 4096); }},
      {"cuMemSetAccess", [&](Scene&) { return cu::cuMemSetAccess(0, 4096, nullptr, 1); }},
      {"cuMemExportToShareableHandle",
       [&](Scene&) { return cu::cuMemExportToShareableHandle(&created, 0, cu::HandleType::posix_file_descriptor, 0); }},
      {"cuMemcpyDtoH", [&](Scene& its) { return cu::cuMemcpyDtoH_v2(page, its.allocations[0], 1); }},
      {"cuEventQuery", [&](Scene& its) { return cu::cuEventQuery(its.events[0]); }},
      {"cuEventSynchronize", [&](Scene& its) { return cu::cuEventSynchronize(its.events[0]); }},
      {"cuEventCreate", [&](Scene&) { return cu::cuEventCreate(&event, 0); }},
      {"cuEventDestroy", [&](Scene& its) { return cu::cuEventDestroy_v2(its.events[0]); }},
      {"cuStreamQuery", [&](Scene& its) { return cu::cuStreamQuery(its.streams[0]); }},
      {"cuStreamSynchronize", [&](Scene& its) { return cu::cuStreamSynchronize(its.streams[0]); }},
      {"cuStreamCreate", [&](Scene&) { return cu::cuStreamCreate(&stream, 1); }},
      {"cuStreamDestroy", [&](Scene& its) { return cu::cuStreamDestroy_v2(its.streams[0]); }},
      {"cuModuleLoadData", [&](Scene&) { return cu::cuModuleLoadData(&module, page); }},
      {"cuLibraryLoadData",
       [&](Scene&) { return cu::cuLibraryLoadData(&library, page, nullptr, nullptr, 0, nullptr, nullptr, 0); }},
      {"cuDevicePrimaryCtxRetain", [&](Scene&) { return cu::cuDevicePrimaryCtxRetain(&context, 0); }},
      {"cuDevicePrimaryCtxRelease", [&](Scene&) { return cu::cuDevicePrimaryCtxRelease_v2(0); }},
  };
  for (const NamedCall& call : calls) {
    SCOPED_TRACE(call.name);
    Scene scene;
    scene.allocate(1);
    scene.pin(1);
    scene.stream();
    scene.event();
    const auto [answer, ended] =
        beside(scene, CaptureMode::global, CaptureMode::global, [&] { return call.make(scene); });
    EXPECT_EQ(answer, Result::stream_capture_unsupported);
    EXPECT_EQ(ended, Result::stream_capture_invalidated);
    scene.close();  // what was refused was not given back
    EXPECT_TRUE(take_violations().empty());
  }
}

TEST(Capture, IsNotDisturbedByWorkInOtherStreams) {
  Scene scene;
  const cu::DevicePointer target = scene.allocate(8);
  std::byte* const source = scene.pin(8);
  const cu::Stream elsewhere = scene.stream();
  const cu::Event event = scene.event();
  const auto [answer, ended] = beside(scene, CaptureMode::global, CaptureMode::global, [&] {
    cu::Copy2D rows;
    rows.source_type = cu::MemoryType::host;
    rows.source_host = source;
    rows.target_type = cu::MemoryType::device;
    rows.target_device = target;
    rows.source_pitch = rows.target_pitch = rows.width_bytes = rows.height = 2;
    cu::Context context = nullptr;
    std::size_t bytes = 0;
    const cu::MemoryProperties properties;
    scene.copy_in(target, source, 8, elsewhere);
    Scene::ok(cu::cuMemcpy2DAsync_v2(&rows, elsewhere));
    Scene::ok(cu::cuMemsetD8Async(target, 0, 8, elsewhere));
    Scene::ok(cu::cuMemsetD2D8Async(target, 2, 0, 2, 2, elsewhere));
    Scene::ok(cu::cuStreamGetCtx(elsewhere, &context));
    Scene::ok(cu::cuMemGetAllocationGranularity(&bytes, &properties, cu::Granularity::minimum));
    Scene::ok(cu::cuEventRecord(event, elsewhere));
    return cu::cuStreamWaitEvent(elsewhere, event, 0);
  });
  EXPECT_EQ(answer, Result::success);
  EXPECT_EQ(ended, Result::success);
  scene.close();
  EXPECT_TRUE(take_violations().empty());
}

TEST(Capture, TakesWorkWithoutDoingIt) {
  Scene scene;
  const cu::DevicePointer target = scene.allocate(8);
  std::byte* const source = scene.pin(8);
  const cu::Stream stream = scene.stream();
  Scene::ok(cu::cuStreamBeginCapture_v2(stream, CaptureMode::relaxed));
  EXPECT_EQ(cu::cuStreamBeginCapture_v2(stream, CaptureMode::relaxed), Result::illegal_state);
  scene.copy_in(target, source, 8, stream);
  Scene::ok(cu::cuMemsetD8Async(target, 0, 8, stream));
  EXPECT_EQ(end(stream), Result::success);
  EXPECT_EQ(counters().copies_in, 0u);
  EXPECT_EQ(*peek(target), std::byte{0xA5});
  EXPECT_EQ(end(stream), Result::illegal_state);
  scene.close();
  EXPECT_TRUE(take_violations().empty());
}

// CUDA_ERROR_STREAM_CAPTURE_ISOLATION: "A dependency would have been created which crosses the capture sequence
// boundary."
TEST(Capture, DependsOnNothingOutside) {
  Scene scene;
  const cu::Stream outside = scene.stream();
  const cu::Stream stream = scene.stream();
  const cu::Event recorded = scene.event();
  const cu::Event never_recorded = scene.event();
  Scene::ok(cu::cuEventRecord(recorded, outside));
  Scene::ok(cu::cuStreamBeginCapture_v2(stream, CaptureMode::relaxed));
  Scene::ok(cu::cuStreamWaitEvent(stream, never_recorded, 0));
  EXPECT_EQ(cu::cuStreamWaitEvent(stream, recorded, 0), Result::stream_capture_isolation);
  EXPECT_EQ(end(stream), Result::stream_capture_invalidated);
  scene.close();
  EXPECT_TRUE(take_violations().empty());
}

TEST(Capture, IsSpoiledByWaitingForWhatItHolds) {
  Scene scene;
  const cu::Stream stream = scene.stream();
  const cu::Event event = scene.event();
  const auto expect_spoiled = [&](Result expected, const std::function<Result()>& call) {
    Scene::ok(cu::cuStreamBeginCapture_v2(stream, CaptureMode::relaxed));
    Scene::ok(cu::cuEventRecord(event, stream));
    EXPECT_EQ(call(), expected);
    EXPECT_EQ(end(stream), Result::stream_capture_invalidated);
  };
  expect_spoiled(Result::stream_capture_unsupported, [&] { return cu::cuStreamSynchronize(stream); });
  expect_spoiled(Result::stream_capture_unsupported, [&] { return cu::cuStreamQuery(stream); });
  expect_spoiled(Result::stream_capture_unsupported, [] { return cu::cuCtxSynchronize(); });
  expect_spoiled(Result::captured_event, [&] { return cu::cuEventSynchronize(event); });
  expect_spoiled(Result::captured_event, [&] { return cu::cuEventQuery(event); });
  scene.close();
  EXPECT_TRUE(take_violations().empty());
}

TEST(Capture, EndsOnTheThreadThatBeganIt) {
  Scene scene;
  const cu::Stream stream = scene.stream();
  for (const CaptureMode mode : modes) {
    Scene::ok(cu::cuStreamBeginCapture_v2(stream, mode));
    std::thread([&] {
      Scene::ok(cu::cuCtxSetCurrent(scene.contexts[0]));
      EXPECT_EQ(end(stream), mode == CaptureMode::relaxed ? Result::success : Result::stream_capture_wrong_thread);
      Scene::ok(cu::cuCtxSetCurrent(nullptr));
    }).join();
    EXPECT_EQ(end(stream), mode == CaptureMode::relaxed ? Result::illegal_state : Result::success);
  }
  scene.close();
  EXPECT_TRUE(take_violations().empty());
}

TEST(Capture, KeepsTheDefaultStreamFromItsContext) {
  Scene scene;
  const cu::DevicePointer source = scene.allocate(1);
  const cu::Stream blocking = scene.stream(0);
  EXPECT_EQ(cu::cuStreamBeginCapture_v2(nullptr, CaptureMode::relaxed), Result::stream_capture_unsupported);
  CaptureStatus status{};
  std::byte target{};
  const cu::Event event = scene.event();
  Scene::ok(cu::cuEventRecord(event, blocking));
  const std::function<Result()> uses[] = {
      [&] { return cu::cuMemcpyDtoH_v2(&target, source, 1); },
      [&] { return cu::cuMemsetD8Async(source, 0, 1, nullptr); },
      [&] { return cu::cuEventRecord(event, nullptr); },
      [&] { return cu::cuStreamWaitEvent(nullptr, event, 0); },
  };
  for (const auto& use : uses) {
    Scene::ok(cu::cuStreamBeginCapture_v2(blocking, CaptureMode::relaxed));
    EXPECT_EQ(cu::cuStreamIsCapturing(nullptr, &status), Result::stream_capture_implicit);
    Scene::ok(cu::cuStreamIsCapturing(blocking, &status));
    EXPECT_EQ(status, cu::CaptureStatus::active) << "to be asked does not invalidate it";
    EXPECT_EQ(use(), Result::stream_capture_implicit);
    EXPECT_EQ(end(blocking), Result::stream_capture_invalidated);
  }
  scene.close();
  EXPECT_TRUE(take_violations().empty());
}

TEST(Capture, LeavesNothingBehind) {
  Scene scene;
  const cu::Stream stream = scene.stream();
  cu::Graph graph = nullptr;
  Scene::ok(cu::cuStreamBeginCapture_v2(stream, CaptureMode::global));
  Scene::ok(cu::cuStreamEndCapture(stream, &graph));
  Scene::ok(cu::cuStreamBeginCapture_v2(stream, CaptureMode::relaxed));
  check_leaks();
  std::string told;
  for (const Violation& violation : take_violations()) told += violation.message + '\n';
  EXPECT_THAT(told, testing::HasSubstr("a graph was not destroyed"));
  EXPECT_THAT(told, testing::HasSubstr("capture of stream"));
  Scene::ok(cu::cuGraphDestroy(graph));
  EXPECT_EQ(cu::cuGraphDestroy(graph), Result::invalid_handle);
  EXPECT_THAT(rules_of(take_violations()), ElementsAre(Rule::bad_handle));
  EXPECT_EQ(end(stream), Result::success);
}

}  // namespace
}  // namespace sluice::sim
