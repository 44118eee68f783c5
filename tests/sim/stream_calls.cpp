// Streams, events, and the copies that are queued in streams.
#include <fmt/format.h>

#include <cstring>
#include <memory>
#include <utility>

#include "tests/sim/driver_calls.hpp"
#include "tests/sim/simulator.hpp"

namespace sluice::cu {

using sim::call;
using sim::Engine;
using sim::Needs;
using sim::Operation;
using sim::Rule;
using sim::Simulator;
using sim::StreamState;

namespace {

constexpr int unread_value = 0xA5;  // what the target of a copy to the host holds until it is done

sim::Nanoseconds copy_duration(const sim::DeviceSettings& settings, std::size_t bytes) {
  return settings.link_latency +
         static_cast<sim::Nanoseconds>(static_cast<double>(bytes) * 1e9 / settings.link_bytes_per_second);
}

std::shared_ptr<Operation> make_copy(const Simulator& sim, const StreamState& stream, Engine engine,
                                     DevicePointer address, std::size_t bytes) {
  auto copy = std::make_shared<Operation>();
  copy->engine = engine;
  copy->what = engine == Engine::copy_in ? "copy to the device" : "copy to the host";
  copy->address = address;
  copy->bytes = bytes;
  copy->duration = copy_duration(sim.devices[static_cast<std::size_t>(stream.device)]->settings, bytes);
  return copy;
}

/// Device memory, pinned memory and stream must fit together, or the copy is refused.
bool fits(Simulator& sim, const StreamState& stream, DevicePointer address, const void* host, std::size_t bytes) {
  if (auto wrong = sim.devices[static_cast<std::size_t>(stream.device)]->memory.check(address, bytes)) {
    sim.violations.add(wrong->rule, fmt::format("copy: {}", wrong->message));
    return false;
  }
  const sim::Pinned* range = sim.pinned.find(host, bytes);
  if (range == nullptr || (range->device != stream.device && !range->portable)) {
    sim.violations.add(Rule::not_pinned, fmt::format("copy: {} bytes at {} are not {}", bytes, host,
                                                     range == nullptr ? "within one range of pinned memory"
                                                                      : "pinned for this device, nor portable"));
    return false;
  }
  return true;
}

void use_pinned(Simulator& sim, const void* host, const Operation& copy) {
  sim.pinned.find(host, copy.bytes)->users[copy.stamp.stream] = copy.stamp;
}

void copy_in(Simulator& sim, const Operation& copy) {
  sim.check_source(copy);
  if (!sim.access(copy, copy.address, copy.bytes, true)) return;
  sim::DeviceMemory& memory = sim.devices[static_cast<std::size_t>(copy.device)]->memory;
  std::memcpy(memory.view(copy.address), copy.source, copy.bytes);
  std::memset(memory.defined(copy.address), sim::defined, copy.bytes);
  ++sim.counts.copies_in;
  sim.counts.bytes_in += copy.bytes;
}

void copy_out(Simulator& sim, const Operation& copy, void* target) {
  if (!sim.access(copy, copy.address, copy.bytes, false)) return;
  const sim::DeviceMemory& memory = sim.devices[static_cast<std::size_t>(copy.device)]->memory;
  if (const void* hole = std::memchr(memory.defined(copy.address), sim::undefined, copy.bytes)) {
    const auto offset = static_cast<const std::uint8_t*>(hole) - memory.defined(copy.address);
    sim.violations.add(Rule::undefined,
                       fmt::format("copy to the host of {} bytes at {:#x}: nobody wrote byte {} of them", copy.bytes,
                                   copy.address, offset));
  }
  std::memcpy(target, memory.view(copy.address), copy.bytes);
  ++sim.counts.copies_out;
  sim.counts.bytes_out += copy.bytes;
}

/// The stream of a call that acts on the current context; nullptr if `result` is the answer.
StreamState* own_stream(Simulator& sim, Stream handle, Result& result) {
  StreamState* stream = sim.find_stream(handle, result);
  if (stream != nullptr && stream->device != sim.device_ordinal()) result = Result::invalid_handle;
  return result == Result::success ? stream : nullptr;
}

}  // namespace

Result cuMemcpyHtoDAsync_v2(DevicePointer target, const void* source, std::size_t bytes, Stream handle) {
  return call("cuMemcpyHtoDAsync", Needs::context, [&](Simulator& sim) {
    Result result{};
    StreamState* stream = own_stream(sim, handle, result);
    if (stream == nullptr || bytes == 0) return result;
    if (!fits(sim, *stream, target, source, bytes)) return Result::invalid_value;
    if (const auto captured = sim.captures.take(stream->id)) return *captured;
    const auto copy = make_copy(sim, *stream, Engine::copy_in, target, bytes);
    copy->source = static_cast<const std::byte*>(source);
    copy->work = [&sim](Operation& its) { copy_in(sim, its); };
    sim.enqueue(*stream, copy);
    use_pinned(sim, source, *copy);
    return Result::success;
  });
}

Result cuMemcpyDtoHAsync_v2(void* target, DevicePointer source, std::size_t bytes, Stream handle) {
  return call("cuMemcpyDtoHAsync", Needs::context, [&](Simulator& sim) {
    Result result{};
    StreamState* stream = own_stream(sim, handle, result);
    if (stream == nullptr || bytes == 0) return result;
    if (!fits(sim, *stream, source, target, bytes)) return Result::invalid_value;
    if (const auto captured = sim.captures.take(stream->id)) return *captured;
    const auto copy = make_copy(sim, *stream, Engine::copy_out, source, bytes);
    copy->work = [&sim, target](Operation& its) { copy_out(sim, its, target); };
    std::memset(target, unread_value, bytes);
    sim.enqueue(*stream, copy);
    use_pinned(sim, target, *copy);
    return Result::success;
  });
}

// In the default stream, for which streams that are non-blocking do not wait, nor it for them. Takes no time.
Result cuMemcpyDtoH_v2(void* target, DevicePointer source, std::size_t bytes) {
  return call("cuMemcpyDtoH", Needs::context, [&](Simulator& sim) {
    Result result{};
    StreamState* stream = own_stream(sim, nullptr, result);
    if (stream == nullptr || bytes == 0) return result;
    if (sim.is_joined_by_capture(*stream)) return Result::stream_capture_implicit;
    if (auto wrong = sim.device().memory.check(source, bytes)) {
      sim.violations.add(wrong->rule, fmt::format("cuMemcpyDtoH: {}", wrong->message));
      return Result::invalid_value;
    }
    const auto copy = make_copy(sim, *stream, Engine::none, source, bytes);
    copy->work = [&sim, target](Operation& its) { copy_out(sim, its, target); };
    sim.enqueue(*stream, copy);
    sim.timeline.wait(copy);
    return sim.learn_done(*copy);
  });
}

Result cuStreamCreate(Stream* stream, unsigned flags) {
  return call("cuStreamCreate", Needs::context, [&](Simulator& sim) {
    if ((flags & ~stream_non_blocking) != 0) return Result::invalid_value;
    const bool blocking = (flags & stream_non_blocking) == 0;
    *stream = sim::to_handle<Stream>(sim::HandleKind::stream, sim.timeline.add_stream(sim.device_ordinal(), blocking));
    return Result::success;
  });
}

Result cuStreamDestroy_v2(Stream handle) {
  return sim::release("cuStreamDestroy", Needs::context, [&](Simulator& sim) {
    Result result{};
    StreamState* stream = sim.find_stream(handle, result);
    if (stream == nullptr || reinterpret_cast<std::uint64_t>(handle) <= 2) return Result::invalid_handle;
    if (stream->last != nullptr && !sim.known_done(stream->last->stamp)) {
      sim.violations.add(Rule::in_use,
                         fmt::format("cuStreamDestroy of stream {}, and the host cannot know that its {} {} is done",
                                     stream->id, stream->last->what, stream->last->stamp.number));
    }
    sim.timeline.destroy(*stream);
    return result;
  });
}

Result cuStreamSynchronize(Stream handle) {
  return call("cuStreamSynchronize", Needs::context, [&](Simulator& sim) {
    Result result{};
    StreamState* stream = sim.find_stream(handle, result);
    if (result == Result::success) result = sim.forbid_captured(*stream);
    if (result != Result::success || stream->last == nullptr) return result;
    const std::shared_ptr<Operation> last = stream->last;
    sim.timeline.wait(last);
    return sim.learn_done(*last);
  });
}

Result cuStreamQuery(Stream handle) {
  return call("cuStreamQuery", Needs::context, [&](Simulator& sim) {
    Result result{};
    StreamState* stream = sim.find_stream(handle, result);
    if (result == Result::success) result = sim.forbid_captured(*stream);
    if (result != Result::success || stream->last == nullptr) return result;
    const std::shared_ptr<Operation> last = stream->last;
    sim.timeline.poll(*last);
    return last->done ? sim.learn_done(*last) : Result::not_ready;
  });
}

// "hEvent may be from a different context or device than hStream"; one that was never recorded is not waited for.
Result cuStreamWaitEvent(Stream handle, Event event_handle, unsigned flags) {
  return call("cuStreamWaitEvent", Needs::context, [&](Simulator& sim) {
    if (flags != 0) return Result::invalid_value;
    Result result{};
    StreamState* stream = sim.find_stream(handle, result);
    if (result != Result::success) return result;
    const sim::EventState* event = sim.find_event(event_handle, result);
    if (result != Result::success) return result;
    if (const auto captured = sim.captures.take(stream->id)) {
      // CUDA_ERROR_STREAM_CAPTURE_ISOLATION: "A dependency would have been created which crosses the capture sequence
      // boundary. Only implicit in-stream ordering dependencies are allowed to cross the boundary."
      if (event->recorded == nullptr) return *captured;
      sim.captures.spoil(stream->id);
      return Result::stream_capture_isolation;
    }
    if (event->captured_in) return Result::not_supported;  // the stream would join the capture
    if (event->recorded == nullptr) return result;
    const auto mark = std::make_shared<Operation>();
    mark->what = "wait";
    mark->after = {event->recorded};
    sim.enqueue(*stream, mark);
    return Result::success;
  });
}

Result cuEventCreate(Event* event, unsigned flags) {
  return call("cuEventCreate", Needs::context, [&](Simulator& sim) {
    if ((flags & ~(event_blocking_sync | event_disable_timing)) != 0) return Result::invalid_value;
    sim::EventState& state = sim.events[++sim.last_id];
    state.device = sim.device_ordinal();
    state.timed = (flags & event_disable_timing) == 0;
    *event = sim::to_handle<Event>(sim::HandleKind::event, sim.last_id);
    return Result::success;
  });
}

Result cuEventDestroy_v2(Event handle) {
  return sim::release("cuEventDestroy", Needs::context, [&](Simulator& sim) {
    Result result{};
    const sim::EventState* event = sim.find_event(handle, result);
    if (event == nullptr) return result;
    if (event->recorded != nullptr && !sim.known_done(event->recorded->stamp)) {
      sim.violations.add(Rule::in_use,
                         fmt::format("cuEventDestroy, and the host cannot know that record {} of stream {} is done",
                                     event->recorded->stamp.number, event->recorded->stamp.stream));
    }
    sim.events.erase(*sim::from_handle(sim::HandleKind::event, handle));
    return result;
  });
}

// "hEvent and hStream must be from the same context otherwise CUDA_ERROR_INVALID_HANDLE is returned."
Result cuEventRecord(Event event_handle, Stream handle) {
  return call("cuEventRecord", Needs::context, [&](Simulator& sim) {
    Result result{};
    StreamState* stream = sim.find_stream(handle, result);
    if (result != Result::success) return result;
    sim::EventState* event = sim.find_event(event_handle, result);
    if (result != Result::success) return result;
    if (event->device != stream->device) return Result::invalid_handle;
    event->captured_in.reset();
    if (const auto captured = sim.captures.take(stream->id)) {
      event->recorded = nullptr;
      event->captured_in = stream->id;
      return *captured;
    }
    const auto mark = std::make_shared<Operation>();
    mark->what = "record";
    event->recorded = mark;
    sim.enqueue(*stream, mark);
    return Result::success;
  });
}

Result cuEventQuery(Event handle) {
  return call("cuEventQuery", Needs::driver, [&](Simulator& sim) {
    Result result{};
    const sim::EventState* event = sim.find_event(handle, result);
    if (result == Result::success) result = sim.forbid_captured(*event);
    if (result != Result::success || event->recorded == nullptr) return result;
    const std::shared_ptr<Operation> recorded = event->recorded;
    sim.timeline.poll(*recorded);
    return recorded->done ? sim.learn_done(*recorded) : Result::not_ready;
  });
}

Result cuEventSynchronize(Event handle) {
  return call("cuEventSynchronize", Needs::context, [&](Simulator& sim) {
    Result result{};
    const sim::EventState* event = sim.find_event(handle, result);
    if (result == Result::success) result = sim.forbid_captured(*event);
    if (result != Result::success || event->recorded == nullptr) return result;
    const std::shared_ptr<Operation> recorded = event->recorded;
    sim.timeline.wait(recorded);
    return sim.learn_done(*recorded);
  });
}

// "If either event has not been recorded [...], CUDA_ERROR_INVALID_HANDLE is returned. If cuEventRecord() has been
// called on both events but one or both of them has not yet been completed [...], CUDA_ERROR_NOT_READY is returned. If
// either event was created with the CU_EVENT_DISABLE_TIMING flag, then this function will return
// CUDA_ERROR_INVALID_HANDLE."
Result cuEventElapsedTime(float* milliseconds, Event from_handle, Event to_handle) {
  return call("cuEventElapsedTime", Needs::context, [&](Simulator& sim) {
    Result result{};
    const sim::EventState* from = sim.find_event(from_handle, result);
    const sim::EventState* to = result == Result::success ? sim.find_event(to_handle, result) : nullptr;
    if (result != Result::success) return result;
    const bool comparable = from->timed && to->timed && from->device == to->device;
    if (!comparable || from->recorded == nullptr || to->recorded == nullptr) return Result::invalid_handle;
    const std::shared_ptr<Operation> first = from->recorded;
    const std::shared_ptr<Operation> last = to->recorded;
    for (const auto& recorded : {first, last}) {
      sim.timeline.poll(*recorded);
      if (!recorded->done) return Result::not_ready;
    }
    *milliseconds =
        static_cast<float>((static_cast<double>(last->done_at) - static_cast<double>(first->done_at)) / 1e6);
    sim.learn_done(*first);
    return sim.learn_done(*last);
  });
}

}  // namespace sluice::cu
