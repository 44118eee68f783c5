#include "tests/sim/capture.hpp"

#include <algorithm>
#include <iterator>

namespace sluice::sim {
namespace {

/// What a capture never minds: calls that only tell something, that set up the thread, and that queue work in a stream.
/// The manual names no list of "potentially unsafe" calls, but for some examples; all others count as such here.
constexpr std::string_view harmless[] = {
    "cuInit",
    "cuDriverGetVersion",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuGetProcAddress",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetPCIBusId",
    "cuDeviceGetUuid",
    "cuDeviceGetAttribute",
    "cuPointerGetAttribute",
    "cuCtxSetCurrent",
    "cuCtxGetCurrent",
    "cuCtxPushCurrent",
    "cuCtxPopCurrent",
    "cuMemcpyHtoDAsync",
    "cuMemcpyDtoHAsync",
    "cuMemcpy2DAsync",
    "cuMemsetD8Async",
    "cuMemsetD2D8Async",
    "cuMemGetAllocationGranularity",
    "cuEventRecord",
    "cuStreamWaitEvent",
    "cuLaunchKernel",
    "cuThreadExchangeStreamCaptureMode",
    "cuStreamIsCapturing",
    "cuStreamGetCtx",
    "cuStreamGetId",
    "cuStreamBeginCapture",
    "cuStreamEndCapture",
    "cuGraphDestroy",
};

}  // namespace

// cuThreadExchangeStreamCaptureMode: "CU_STREAM_CAPTURE_MODE_GLOBAL: [...] If the local thread has an ongoing capture
// sequence that was not initiated with CU_STREAM_CAPTURE_MODE_RELAXED at cuStreamBeginCapture, or if any other thread
// has a concurrent capture sequence initiated with CU_STREAM_CAPTURE_MODE_GLOBAL, this thread is prohibited from
// potentially unsafe API calls. CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: If the local thread has an ongoing capture
// sequence not initiated with CU_STREAM_CAPTURE_MODE_RELAXED, it is prohibited from potentially unsafe API calls.
// Concurrent capture sequences in other threads are ignored. CU_STREAM_CAPTURE_MODE_RELAXED: The local thread is not
// prohibited from potentially unsafe API calls."
bool Captures::forbids(const Capture& capture) const {
  const auto found = modes_.find(std::this_thread::get_id());
  const cu::CaptureMode mine = found == modes_.end() ? cu::CaptureMode::global : found->second;
  if (mine == cu::CaptureMode::relaxed) return false;
  if (capture.thread == std::this_thread::get_id()) return capture.mode != cu::CaptureMode::relaxed;
  return mine == cu::CaptureMode::global && capture.mode == cu::CaptureMode::global;
}

bool Captures::allow(std::string_view call) {
  if (std::find(std::begin(harmless), std::end(harmless), call) != std::end(harmless)) return true;
  bool allowed = true;
  for (auto& [stream, capture] : running_) {
    if (!forbids(capture)) continue;
    capture.valid = false;
    allowed = false;
  }
  return allowed;
}

cu::CaptureMode Captures::exchange(cu::CaptureMode mode) {
  const auto [found, added] = modes_.try_emplace(std::this_thread::get_id(), cu::CaptureMode::global);
  const cu::CaptureMode before = found->second;
  found->second = mode;
  if (mode == cu::CaptureMode::global) modes_.erase(found);  // as the next thread of this number begins
  return before;
}

void Captures::begin(StreamId stream, cu::CaptureMode mode) {
  running_[stream] = {std::this_thread::get_id(), mode};
}

// "If mode is not CU_STREAM_CAPTURE_MODE_RELAXED, cuStreamEndCapture must be called on this stream from the same
// thread."
cu::Result Captures::end(StreamId stream) {
  const auto found = running_.find(stream);
  if (found == running_.end()) return cu::Result::illegal_state;
  const Capture capture = found->second;
  if (capture.mode != cu::CaptureMode::relaxed && capture.thread != std::this_thread::get_id()) {
    return cu::Result::stream_capture_wrong_thread;
  }
  running_.erase(found);
  return capture.valid ? cu::Result::success : cu::Result::stream_capture_invalidated;
}

cu::CaptureStatus Captures::status(StreamId stream) const {
  const auto found = running_.find(stream);
  if (found == running_.end()) return cu::CaptureStatus::none;
  return found->second.valid ? cu::CaptureStatus::active : cu::CaptureStatus::invalidated;
}

std::optional<cu::Result> Captures::take(StreamId stream) const {
  const auto found = running_.find(stream);
  if (found == running_.end()) return std::nullopt;
  return found->second.valid ? cu::Result::success : cu::Result::stream_capture_invalidated;
}

void Captures::spoil(StreamId stream) {
  const auto found = running_.find(stream);
  if (found != running_.end()) found->second.valid = false;
}

}  // namespace sluice::sim
