// Streams, events, and the copies that are queued in streams.
#include <fmt/format.h>

#include <cstring>
#include <memory>
#include <utility>
#include <vector>

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
                                     const sim::Rows& on_device) {
  auto copy = std::make_shared<Operation>();
  copy->engine = engine;
  copy->what = engine == Engine::copy_in ? "copy to the device" : "copy to the host";
  copy->on_device = on_device;
  const sim::DeviceSettings& settings = sim.devices[static_cast<std::size_t>(stream.device)]->settings;
  copy->duration = copy_duration(settings, on_device.total());
  copy->set_up = settings.copy_set_up;
  return copy;
}

sim::Rows one_row(DevicePointer begin, std::size_t bytes) {
  return {begin, bytes, bytes, 1};
}

sim::Rows one_row(const void* begin, std::size_t bytes) {
  return one_row(reinterpret_cast<std::uintptr_t>(begin), bytes);
}

/// Device memory, pinned memory and stream must fit together, or the copy is refused. What lies between rows counts:
/// rows are of one allocation, and in one pinned range.
bool fits_device(Simulator& sim, const StreamState& stream, const sim::Rows& rows, sim::Use use, const char* what) {
  sim::DeviceMemory& memory = sim.devices[static_cast<std::size_t>(stream.device)]->memory;
  const auto wrong = memory.check(rows.begin, rows.span(), use);
  if (wrong) sim.violations.add(wrong->rule, fmt::format("{}: {}", what, wrong->message));
  return !wrong;
}

bool fits_host(Simulator& sim, const StreamState& stream, const sim::Rows& rows) {
  const sim::Pinned* range = sim.pinned.find(reinterpret_cast<const void*>(rows.begin), rows.span());
  if (range != nullptr && (range->device == stream.device || range->portable)) return true;
  sim.violations.add(Rule::not_pinned, fmt::format("copy: {} bytes at {:#x} are not {}", rows.span(), rows.begin,
                                                   range == nullptr ? "within one range of pinned memory"
                                                                    : "pinned for this device, nor portable"));
  return false;
}

void use_pinned(Simulator& sim, const sim::Rows& rows, const Operation& copy) {
  sim.pinned.find(reinterpret_cast<const void*>(rows.begin), rows.span())->users[copy.stamp.stream] = copy.stamp;
}

/// Does an access to a row of device memory, and calls `action(bytes in the simulator, whether they are defined,
/// offset in the row, count)` for each part of it that lies in one piece.
template <typename Action>
bool access_row(Simulator& sim, const Operation& operation, std::uint64_t row, sim::Use use, const Action& action) {
  const std::uint64_t begin = operation.on_device.row(row);
  const std::uint64_t bytes = operation.on_device.bytes;
  if (!sim.access(operation, begin, bytes, use)) return false;
  sim::DeviceMemory& memory = sim.devices[static_cast<std::size_t>(operation.device)]->memory;
  memory.for_each_part(begin, bytes, [&](const sim::Stretch& stretch, std::uint64_t at, std::uint64_t part_bytes) {
    const std::uint64_t place = stretch.place_of(at);
    action(memory.view(place), memory.defined(place), at - begin, part_bytes);
  });
  return true;
}

void copy_in(Simulator& sim, const Operation& copy) {
  sim.check_source(copy);
  for (std::uint64_t row = 0; row < copy.on_device.count; ++row) {
    const auto* const source = reinterpret_cast<const std::byte*>(copy.source->row(row));
    const bool done =
        access_row(sim, copy, row, sim::Use::write,
                   [&](std::byte* view, std::uint8_t* defined, std::uint64_t offset, std::uint64_t bytes) {
                     std::memcpy(view, source + offset, bytes);
                     std::memset(defined, sim::defined, bytes);
                   });
    if (!done) return;
  }
  ++sim.counts.copies_in;
  sim.counts.bytes_in += copy.on_device.total();
}

void copy_out(Simulator& sim, const Operation& copy, void* target) {
  const auto part = [&](const std::byte* view, const std::uint8_t* defined, std::uint64_t offset, std::uint64_t bytes) {
    if (const void* hole = std::memchr(defined, sim::undefined, bytes)) {
      const std::uint64_t where = offset + static_cast<std::uint64_t>(static_cast<const std::uint8_t*>(hole) - defined);
      sim.violations.add(Rule::undefined,
                         fmt::format("copy to the host of {} bytes at {:#x}: nobody wrote byte {} of them",
                                     copy.on_device.bytes, copy.on_device.begin, where));
    }
    std::memcpy(static_cast<std::byte*>(target) + offset, view, bytes);
  };
  if (!access_row(sim, copy, 0, sim::Use::read, part)) return;
  ++sim.counts.copies_out;
  sim.counts.bytes_out += copy.on_device.total();
}

void set(Simulator& sim, const Operation& operation, unsigned char value) {
  for (std::uint64_t row = 0; row < operation.on_device.count; ++row) {
    const bool done = access_row(sim, operation, row, sim::Use::write,
                                 [&](std::byte* view, std::uint8_t* defined, std::uint64_t, std::uint64_t bytes) {
                                   std::memset(view, value, bytes);
                                   std::memset(defined, sim::defined, bytes);
                                 });
    if (!done) return;
  }
}

/// The stream of a call that acts on the current context; nullptr if `result` is the answer.
StreamState* own_stream(Simulator& sim, Stream handle, Result& result) {
  StreamState* stream = sim.find_stream(handle, result);
  if (stream != nullptr && stream->device != sim.device_ordinal()) result = Result::invalid_handle;
  return result == Result::success ? stream : nullptr;
}

Result queue_copy_in(Simulator& sim, StreamState& stream, const sim::Rows& source, const sim::Rows& target) {
  if (!fits_device(sim, stream, target, sim::Use::write, "copy") || !fits_host(sim, stream, source)) {
    return Result::invalid_value;
  }
  if (const auto captured = sim.capture(stream)) return *captured;
  const auto copy = make_copy(sim, stream, Engine::copy_in, target);
  copy->source = source;
  copy->work = [&sim](Operation& its) { copy_in(sim, its); };
  sim.enqueue(stream, copy);
  use_pinned(sim, source, *copy);
  return Result::success;
}

Result queue_set(Simulator& sim, StreamState& stream, const sim::Rows& target, unsigned char value) {
  if (!fits_device(sim, stream, target, sim::Use::write, "memset")) return Result::invalid_value;
  if (const auto captured = sim.capture(stream)) return *captured;
  const sim::DeviceSettings& settings = sim.devices[static_cast<std::size_t>(stream.device)]->settings;
  const auto operation = std::make_shared<Operation>();
  operation->engine = Engine::kernel;
  operation->what = "memset";
  operation->on_device = target;
  operation->duration = settings.kernel_latency + static_cast<sim::Nanoseconds>(static_cast<double>(target.total()) *
                                                                                1e9 / settings.kernel_bytes_per_second);
  operation->work = [&sim, value](Operation& its) { set(sim, its, value); };
  sim.enqueue(stream, operation);
  return Result::success;
}

/// "srcPitch must be greater than or equal to WidthInBytes + srcXInBytes"; and no pitch may be greater than
/// CU_DEVICE_ATTRIBUTE_MAX_PITCH.
bool is_pitch(std::size_t pitch, std::size_t x_bytes, std::size_t width_bytes) {
  return pitch <= sim::pitch_max && x_bytes <= pitch && width_bytes <= pitch - x_bytes;
}

}  // namespace

Result cuMemcpyHtoDAsync_v2(DevicePointer target, const void* source, std::size_t bytes, Stream handle) {
  return call("cuMemcpyHtoDAsync", Needs::context, [&](Simulator& sim) {
    Result result{};
    StreamState* stream = own_stream(sim, handle, result);
    if (stream == nullptr || bytes == 0) return result;
    return queue_copy_in(sim, *stream, one_row(source, bytes), one_row(target, bytes));
  });
}

// "For host pointers, the starting address is srcHost+srcY*srcPitch + srcXInBytes", and likewise for the device's.
Result cuMemcpy2DAsync_v2(const Copy2D* copy, Stream handle) {
  return call("cuMemcpy2DAsync", Needs::context, [&](Simulator& sim) {
    if (copy == nullptr) return Result::invalid_value;
    if (copy->source_type != MemoryType::host || copy->target_type != MemoryType::device) return Result::not_supported;
    if (!is_pitch(copy->source_pitch, copy->source_x_bytes, copy->width_bytes) ||
        !is_pitch(copy->target_pitch, copy->target_x_bytes, copy->width_bytes)) {
      return Result::invalid_value;
    }
    Result result{};
    StreamState* stream = own_stream(sim, handle, result);
    if (stream == nullptr || copy->width_bytes == 0 || copy->height == 0) return result;
    const auto rows = [&](std::uint64_t begin, std::size_t x_bytes, std::size_t y, std::size_t pitch) {
      return sim::Rows{begin + y * pitch + x_bytes, copy->width_bytes, pitch, copy->height};
    };
    return queue_copy_in(sim, *stream,
                         rows(reinterpret_cast<std::uintptr_t>(copy->source_host), copy->source_x_bytes, copy->source_y,
                              copy->source_pitch),
                         rows(copy->target_device, copy->target_x_bytes, copy->target_y, copy->target_pitch));
  });
}

Result cuMemcpyDtoHAsync_v2(void* target, DevicePointer source, std::size_t bytes, Stream handle) {
  return call("cuMemcpyDtoHAsync", Needs::context, [&](Simulator& sim) {
    Result result{};
    StreamState* stream = own_stream(sim, handle, result);
    if (stream == nullptr || bytes == 0) return result;
    if (!fits_device(sim, *stream, one_row(source, bytes), sim::Use::read, "copy") ||
        !fits_host(sim, *stream, one_row(target, bytes))) {
      return Result::invalid_value;
    }
    if (const auto captured = sim.capture(*stream)) return *captured;
    const auto copy = make_copy(sim, *stream, Engine::copy_out, one_row(source, bytes));
    copy->work = [&sim, target](Operation& its) { copy_out(sim, its, target); };
    std::memset(target, unread_value, bytes);
    sim.enqueue(*stream, copy);
    use_pinned(sim, one_row(target, bytes), *copy);
    return Result::success;
  });
}

Result cuMemsetD8Async(DevicePointer target, unsigned char value, std::size_t bytes, Stream handle) {
  return call("cuMemsetD8Async", Needs::context, [&](Simulator& sim) {
    Result result{};
    StreamState* stream = own_stream(sim, handle, result);
    if (stream == nullptr || bytes == 0) return result;
    return queue_set(sim, *stream, one_row(target, bytes), value);
  });
}

// "Pitch of destination device pointer (Unused if Height is 1)".
Result cuMemsetD2D8Async(DevicePointer target, std::size_t pitch, unsigned char value, std::size_t width,
                         std::size_t height, Stream handle) {
  return call("cuMemsetD2D8Async", Needs::context, [&](Simulator& sim) {
    if (height > 1 && !is_pitch(pitch, 0, width)) return Result::invalid_value;
    Result result{};
    StreamState* stream = own_stream(sim, handle, result);
    if (stream == nullptr || width == 0 || height == 0) return result;
    return queue_set(sim, *stream, {target, width, pitch, height}, value);
  });
}

// In the default stream, for which streams that are non-blocking do not wait, nor it for them. Takes no time.
Result cuMemcpyDtoH_v2(void* target, DevicePointer source, std::size_t bytes) {
  return call("cuMemcpyDtoH", Needs::context, [&](Simulator& sim) {
    Result result{};
    StreamState* stream = own_stream(sim, nullptr, result);
    if (stream == nullptr || bytes == 0) return result;
    if (const auto captured = sim.capture(*stream)) return *captured;
    if (!fits_device(sim, *stream, one_row(source, bytes), sim::Use::read, "cuMemcpyDtoH")) {
      return Result::invalid_value;
    }
    const auto copy = make_copy(sim, *stream, Engine::none, one_row(source, bytes));
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

// "Blocks until the current context has completed all preceding requested tasks." And of captures, the CUDA C++
// Programming Guide: "It is also invalid to query the execution status of or synchronize a broader handle which
// encompasses an active stream capture, such as a device or context handle".
Result cuCtxSynchronize() {
  return call("cuCtxSynchronize", Needs::context, [&](Simulator& sim) {
    const int device = sim.device_ordinal();
    std::vector<std::shared_ptr<Operation>> last;
    for (const auto& [id, stream] : sim.timeline.streams()) {
      if (stream.device != device) continue;
      const Result result = sim.forbid_captured(stream);
      if (result != Result::success) return result;
      if (stream.last != nullptr) last.push_back(stream.last);
    }
    for (const std::shared_ptr<Operation>& operation : last) {
      sim.timeline.wait(operation);
      const Result result = sim.learn_done(*operation);
      if (result != Result::success) return result;
    }
    return Result::success;
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

// "Specifying any of the special handles will return the context current to the calling thread. If no context is
// current to the calling thread, CUDA_ERROR_INVALID_CONTEXT is returned."
Result cuStreamGetCtx(Stream handle, Context* context) {
  return call("cuStreamGetCtx", Needs::driver, [&](Simulator& sim) {
    const bool is_special = reinterpret_cast<std::uint64_t>(handle) <= 2;
    if (is_special && sim.context_stack().empty()) return Result::invalid_context;
    Result result{};
    const StreamState* const stream = sim.find_stream(handle, result);
    if (stream == nullptr) return result;
    *context = sim::to_handle<Context>(sim::HandleKind::context, static_cast<std::uint64_t>(stream->device) + 1);
    return result;
  });
}

// "Returns in streamId the unique Id which is associated with the given stream handle. The Id is unique for the life of
// the program." Those of the special handles are of the current context's streams.
Result cuStreamGetId(Stream handle, std::uint64_t* id) {
  return call("cuStreamGetId", Needs::driver, [&](Simulator& sim) {
    const bool is_special = reinterpret_cast<std::uint64_t>(handle) <= 2;
    if (is_special && sim.context_stack().empty()) return Result::invalid_context;
    Result result{};
    const StreamState* const stream = sim.find_stream(handle, result);
    if (stream != nullptr) *id = stream->id;
    return result;
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
    if (const auto captured = sim.capture(*stream)) {
      // CUDA_ERROR_STREAM_CAPTURE_ISOLATION: "A dependency would have been created which crosses the capture sequence
      // boundary. Only implicit in-stream ordering dependencies are allowed to cross the boundary."
      if (event->recorded == nullptr || captured == Result::stream_capture_implicit) return *captured;
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

// "An event may be destroyed before it is complete": what waits for it goes on waiting. A load that ends before it
// begins leaves the mark on its caller's stream in this way, and must not wait for it.
Result cuEventDestroy_v2(Event handle) {
  return sim::release("cuEventDestroy", Needs::context, [&](Simulator& sim) {
    Result result{};
    if (sim.find_event(handle, result) == nullptr) return result;
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
    if (const auto captured = sim.capture(*stream)) {
      if (captured == Result::stream_capture_implicit) return *captured;
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
