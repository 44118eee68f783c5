// Stream capture: its beginning and end, and what threads have to do with it.
#include "tests/sim/driver_calls.hpp"
#include "tests/sim/simulator.hpp"

namespace sluice::cu {

using sim::call;
using sim::HandleKind;
using sim::Needs;
using sim::Simulator;

// "Sets the calling thread's stream capture interaction mode to the value contained in *mode, and overwrites *mode with
// the previous mode for the thread."
Result cuThreadExchangeStreamCaptureMode(CaptureMode* mode) {
  return call("cuThreadExchangeStreamCaptureMode", Needs::driver, [&](Simulator& sim) {
    if (*mode < CaptureMode::global || *mode > CaptureMode::relaxed) return Result::invalid_value;
    *mode = sim.captures.exchange(*mode);
    return Result::success;
  });
}

// "Note that, if this is called on CU_STREAM_LEGACY (the "null stream") while a blocking stream in the same context is
// capturing, it will return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT".
Result cuStreamIsCapturing(Stream handle, CaptureStatus* status) {
  return call("cuStreamIsCapturing", Needs::context, [&](Simulator& sim) {
    Result result{};
    const sim::StreamState* stream = sim.find_stream(handle, result);
    if (result != Result::success) return result;
    if (sim.is_joined_by_capture(*stream)) return Result::stream_capture_implicit;
    *status = sim.captures.status(stream->id);
    return Result::success;
  });
}

// "Capture may not be initiated if stream is CU_STREAM_LEGACY. Capture [...] may only be initiated if the stream is not
// already in capture mode."
Result cuStreamBeginCapture_v2(Stream handle, CaptureMode mode) {
  return call("cuStreamBeginCapture", Needs::context, [&](Simulator& sim) {
    Result result{};
    const sim::StreamState* stream = sim.find_stream(handle, result);
    if (result != Result::success) return result;
    if (stream->is_default) return Result::stream_capture_unsupported;
    if (sim.captures.status(stream->id) != CaptureStatus::none) return Result::illegal_state;
    sim.captures.begin(stream->id, mode);
    return Result::success;
  });
}

Result cuStreamEndCapture(Stream handle, Graph* graph) {
  return call("cuStreamEndCapture", Needs::context, [&](Simulator& sim) {
    *graph = nullptr;
    Result result{};
    const sim::StreamState* stream = sim.find_stream(handle, result);
    if (result != Result::success) return result;
    result = sim.captures.end(stream->id);
    if (result != Result::success) return result;
    sim.captures.graphs.insert(++sim.last_id);
    *graph = sim::to_handle<Graph>(HandleKind::graph, sim.last_id);
    return Result::success;
  });
}

Result cuGraphDestroy(Graph graph) {
  return sim::release("cuGraphDestroy", Needs::driver, [&](Simulator& sim) {
    const auto id = sim::from_handle(HandleKind::graph, graph);
    if (id && sim.captures.graphs.erase(*id) != 0) return Result::success;
    sim.violations.add(sim::Rule::bad_handle, "cuGraphDestroy of no graph, or one that was destroyed");
    return Result::invalid_handle;
  });
}

}  // namespace sluice::cu
