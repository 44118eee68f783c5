#include "tests/sim/simulator.hpp"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <utility>

#include "tests/sim/environment.hpp"

namespace sluice::sim {
namespace {

std::uint64_t last_epoch = 0;  // under the lock

/// Not for hostile changes, only for careless ones; fast, since all that is copied passes here three times.
std::uint64_t checksum(const std::byte* bytes, std::uint64_t count, std::uint64_t sum) {
  for (; count >= 8; bytes += 8, count -= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes, sizeof word);
    sum = (sum ^ word) * 0x9E3779B97F4A7C15u;
    sum ^= sum >> 29;
  }
  for (; count > 0; ++bytes, --count) sum = (sum ^ std::to_integer<std::uint64_t>(*bytes)) * 0x9E3779B97F4A7C15u;
  return sum;
}

std::uint64_t checksum(const Rows& rows) {
  std::uint64_t sum = rows.bytes;
  for (std::uint64_t row = 0; row < rows.count; ++row) {
    sum = checksum(reinterpret_cast<const std::byte*>(rows.row(row)), rows.bytes, sum);
  }
  return sum;
}

/// Asked for at each call: whoever makes a thread may name it late.
std::string name_of_this_thread() {
  std::array<char, 16> kept{};
  pthread_getname_np(pthread_self(), kept.data(), kept.size());
  return kept.data();
}

/// What a clean process leaves is nothing, and what it did wrong somebody has taken note of.
void end_simulator() {
  const std::lock_guard<std::mutex> lock(simulator_lock());
  Simulator& sim = simulator();
  if (!sim.same_process()) return;
  sim.check_leaks();
  sim.ended = true;
  sim.violations.abort_if_any();
}

std::unique_ptr<Simulator>& instance() {
  static auto* const simulator = new std::unique_ptr<Simulator>;
  return *simulator;
}

}  // namespace

std::mutex& simulator_lock() {
  static auto* const lock = new std::mutex;
  return *lock;
}

Simulator& simulator() {
  if (instance() == nullptr) replace_simulator(settings_of_environment());
  return *instance();
}

void replace_simulator(const Settings& settings) {
  static const int registered = std::atexit(end_simulator);
  static_cast<void>(registered);
  instance() = std::make_unique<Simulator>(settings, simulator_lock());
}

namespace {
thread_local bool in_call = false;
}

CallLock::CallLock(const char* name) : lock_(simulator_lock()) {
  if (simulator().calls_until_interruption > 0 && --simulator().calls_until_interruption == 0) {
    const std::function<void()> interruption = std::exchange(simulator().interruption, nullptr);
    lock_.unlock();
    interruption();
    lock_.lock();
  }
  in_call = true;
  Simulator& sim = simulator();
  ++sim.held_threads;
  while (sim.held_call == name) sim.released.wait(lock_);
  --sim.held_threads;
}

CallLock::~CallLock() {
  in_call = false;
}

bool CallLock::is_held() {
  return in_call;
}

Simulator::Simulator(const Settings& its_settings, std::mutex& its_lock)
    : settings(its_settings),
      violations(its_settings.abort_on_violation),
      timeline(its_settings, its_lock),
      initialized(its_settings.initialized),
      epoch_(++last_epoch) {
  for (const DeviceSettings& device : settings.devices) {
    const auto ordinal = static_cast<int>(devices.size());
    devices.push_back(std::make_unique<DeviceState>(device, ordinal, settings.seed + devices.size(), virtual_memory));
  }
}

Entry Simulator::enter(const char* name, Needs needs) {
  const cu::Result planned = faults.use(name);
  ++counts.callers[name_of_this_thread()];
  if (ended) return {cu::Result::deinitialized, false};
  if (needs == Needs::nothing) return {planned};
  // A child of fork() cannot use what its parent initialised.
  if (!initialized || !same_process()) return {cu::Result::not_initialized, false};
  if (needs == Needs::driver) {
    if (!captures.allow(name)) return {cu::Result::stream_capture_unsupported, false};
    timeline.tick();
    return {planned};
  }
  if (context_stack().empty()) return {cu::Result::invalid_context, false};
  if (device().retained == 0) return {cu::Result::context_is_destroyed, false};
  if (!captures.allow(name)) return {cu::Result::stream_capture_unsupported, false};
  timeline.tick();
  return {planned == cu::Result::success ? device().dead : planned};
}

std::vector<int>& Simulator::context_stack() const {
  thread_local std::uint64_t epoch = 0;
  thread_local std::vector<int> stack;
  if (std::exchange(epoch, epoch_) != epoch_) stack.clear();
  return stack;
}

StreamState* Simulator::find_stream(cu::Stream handle, cu::Result& result) {
  const auto number = reinterpret_cast<std::uint64_t>(handle);
  StreamState* stream = nullptr;
  if (number <= 2) {  // 0 and CU_STREAM_LEGACY; CU_STREAM_PER_THREAD
    DeviceState& its_device = device();
    std::optional<StreamId>& legacy = its_device.default_stream;
    if (!legacy) legacy = timeline.add_stream(device_ordinal(), false, true);
    StreamId id = *legacy;
    if (number == 2) {
      auto [found, added] = its_device.thread_streams.try_emplace(std::this_thread::get_id());
      if (added) found->second = timeline.add_stream(device_ordinal(), true);
      id = found->second;
    }
    stream = timeline.find(id);
  } else if (const auto id = from_handle(HandleKind::stream, handle)) {
    stream = timeline.find(*id);
  }
  if (stream == nullptr) {
    violations.add(Rule::bad_handle, fmt::format("{:#x} is no stream, or one that was destroyed", number));
    result = cu::Result::invalid_handle;
    return nullptr;
  }
  result = devices[static_cast<std::size_t>(stream->device)]->dead;
  return stream;
}

EventState* Simulator::find_event(cu::Event handle, cu::Result& result) {
  const auto id = from_handle(HandleKind::event, handle);
  const auto found = id ? events.find(*id) : events.end();
  if (found == events.end()) {
    violations.add(Rule::bad_handle, fmt::format("{:#x} is no event, or one that was destroyed",
                                                 reinterpret_cast<std::uint64_t>(handle)));
    result = cu::Result::invalid_handle;
    return nullptr;
  }
  result = devices[static_cast<std::size_t>(found->second.device)]->dead;
  return &found->second;
}

bool Simulator::is_joined_by_capture(const StreamState& stream) const {
  if (!stream.is_default) return false;
  return std::any_of(timeline.streams().begin(), timeline.streams().end(), [&](const auto& entry) {
    const StreamState& other = entry.second;
    return other.blocking && other.device == stream.device && captures.status(other.id) != cu::CaptureStatus::none;
  });
}

// "When a blocking stream is capturing, the legacy stream is in an unusable state until the blocking stream capture is
// terminated. The legacy stream is not supported for stream capture, but attempted use would have an implicit
// dependency on the capturing stream(s)" (cuStreamIsCapturing).
std::optional<cu::Result> Simulator::capture(const StreamState& stream) {
  if (!is_joined_by_capture(stream)) return captures.take(stream.id);
  for (const auto& [id, other] : timeline.streams()) {
    if (other.blocking && other.device == stream.device) captures.spoil(id);
  }
  return cu::Result::stream_capture_implicit;
}

cu::Result Simulator::forbid_captured(const StreamState& stream) {
  if (captures.status(stream.id) == cu::CaptureStatus::none) return cu::Result::success;
  captures.spoil(stream.id);
  return cu::Result::stream_capture_unsupported;
}

// CUDA_ERROR_CAPTURED_EVENT: "The operation is not permitted on an event which was last recorded in a capturing
// stream."
cu::Result Simulator::forbid_captured(const EventState& event) {
  if (!event.captured_in) return cu::Result::success;
  captures.spoil(*event.captured_in);
  return cu::Result::captured_event;
}

void Simulator::enqueue(StreamState& stream, const std::shared_ptr<Operation>& operation) {
  if (operation->engine != Engine::none) {
    const cu::Result planned = faults.use("operation");
    if (planned != cu::Result::success) {
      operation->work = [this, planned](Operation& its) { kill(its.device, planned); };
    }
    const bool on_default = stream.is_default || stream.blocking;
    counts.on_default_streams += on_default ? 1 : 0;
  }
  if (operation->source) {
    operation->checksum = checksum(*operation->source);
    unconfirmed_.push_back(operation);
  }
  timeline.enqueue(stream, operation);
}

cu::Result Simulator::learn_done(const Operation& operation) {
  const cu::Result dead = devices[static_cast<std::size_t>(operation.device)]->dead;
  if (dead != cu::Result::success) return dead;
  timeline.host.merge(operation.clock);
  const auto confirmed = std::partition(unconfirmed_.begin(), unconfirmed_.end(),
                                        [&](const auto& copy) { return !known_done(copy->stamp); });
  for (auto copy = confirmed; copy != unconfirmed_.end(); ++copy) check_source(**copy);
  unconfirmed_.erase(confirmed, unconfirmed_.end());
  return cu::Result::success;
}

void Simulator::check_source(const Operation& operation) {
  const Rows& source = *operation.source;
  if (checksum(source) == operation.checksum) return;
  violations.add(
      Rule::overwritten,
      fmt::format("the {} bytes at {:#x}, source of copy {} of stream {}, changed before the host could know that "
                  "they were read",
                  source.total(), source.begin, operation.stamp.number, operation.stamp.stream));
}

bool Simulator::access(const Operation& operation, std::uint64_t address, std::uint64_t bytes, Use use) {
  DeviceMemory& memory = devices[static_cast<std::size_t>(operation.device)]->memory;
  if (auto wrong = memory.check(address, bytes, use)) {
    violations.add(wrong->rule, fmt::format("{}: {}", operation.what, wrong->message));
    return false;
  }
  memory.for_each_part(address, bytes, [&](const Stretch& stretch, std::uint64_t begin, std::uint64_t part_bytes) {
    log_access(operation, stretch, begin, part_bytes, use);
  });
  return true;
}

void Simulator::log_access(const Operation& operation, const Stretch& stretch, std::uint64_t address,
                           std::uint64_t bytes, Use use) {
  AccessLog& log = devices[static_cast<std::size_t>(operation.device)]->memory.accesses;
  const bool writes = use == Use::write;
  const std::uint64_t place = stretch.place_of(address);
  const auto conflict = writes ? log.write(place, place + bytes, operation.stamp, operation.clock)
                               : log.read(place, place + bytes, operation.stamp, operation.clock);
  if (!conflict) return;
  violations.add(
      Rule::race,
      fmt::format("{} {} of stream {} {} {:#x}, which {} {} of stream {} {}, and nothing orders them", operation.what,
                  operation.stamp.number, operation.stamp.stream, writes ? "writes" : "reads",
                  address + (conflict->address - place), conflict->earlier.what, conflict->earlier.number,
                  conflict->earlier.stream, conflict->earlier_wrote ? "writes" : "reads"));
}

void Simulator::report_in_use(const std::string& what, const Stamp& user) {
  violations.add(Rule::in_use, fmt::format("{}, and the host cannot know that {} {} of stream {} is done with it", what,
                                           user.what, user.number, user.stream));
}

void Simulator::check_unused(const std::string& what, int device, std::uint64_t address, std::uint64_t bytes) {
  DeviceMemory& memory = devices[static_cast<std::size_t>(device)]->memory;
  const std::uint64_t place = memory.stretch(address).place_of(address);
  if (const auto user = memory.accesses.unseen(place, place + bytes, timeline.host)) {
    return report_in_use(what, user->earlier);
  }
  for (const auto& [id, stream] : timeline.streams()) {
    if (stream.device != device) continue;
    for (const auto& operation : stream.queue) {
      const Rows& used = operation->on_device;
      if (used.begin < address + bytes && used.begin + used.span() > address) {
        return report_in_use(what, operation->stamp);
      }
    }
  }
}

// cuMemRelease: "The memory allocation will be freed when all outstanding mappings to the memory are unmapped and when
// all outstanding references to the handle (including it's shareable counterparts) are also released."
void Simulator::drop_unused_memory() {
  for (auto& [number, memory] : virtual_memory.created) {
    std::erase_if(memory.descriptors, [](const Exported& exported) { return !exported.is_open(); });
  }
  std::erase_if(virtual_memory.created, [&](const auto& entry) {
    const CreatedMemory& memory = entry.second;
    if (memory.held || !memory.descriptors.empty() || virtual_memory.is_mapped(memory)) return false;
    DeviceMemory& its = devices[static_cast<std::size_t>(memory.device)]->memory;
    Allocation& allocation = *its.find(memory.place);
    for (const Violation& broken : its.check_guards(allocation)) violations.add(broken.rule, broken.message);
    its.accesses.forget(allocation.begin, allocation.end(), timeline.host);
    its.free(allocation);
    return true;
  });
}

void Simulator::kill(int device, cu::Result reason) {
  devices[static_cast<std::size_t>(device)]->dead = reason;
  timeline.drop(device);
  std::erase_if(unconfirmed_, [&](const auto& copy) { return copy->device == device; });
}

std::size_t Simulator::check_leaks() {
  std::size_t leaks = 0;
  for (std::size_t i = 0; i < devices.size(); ++i) {
    if (devices[i]->dead == cu::Result::success) leaks += check_device_leaks(static_cast<int>(i));
  }
  for (const auto& [id, its] : code) {
    if (its.device && devices[static_cast<std::size_t>(*its.device)]->dead != cu::Result::success) continue;
    violations.add(Rule::leak, its.device ? "a module was not unloaded" : "a library was not unloaded");
    ++leaks;
  }
  for (const auto& [begin, reservation] : virtual_memory.reservations()) {
    if (reservation.freed) continue;
    violations.add(Rule::leak, fmt::format("the {} bytes reserved at {:#x} were not freed", reservation.bytes, begin));
    ++leaks;
  }
  for (std::size_t i = 0; i < captures.graphs.size(); ++i) violations.add(Rule::leak, "a graph was not destroyed");
  return leaks + captures.graphs.size();
}

std::size_t Simulator::check_memory_leaks(int ordinal) {
  std::size_t leaks = 0;
  const auto leak = [&](const std::string& what) {
    violations.add(Rule::leak, fmt::format("on device {}: {}", ordinal, what));
    ++leaks;
  };
  const DeviceState& its = *devices[static_cast<std::size_t>(ordinal)];
  for (const auto& [begin, allocation] : its.memory.allocations()) {
    if (allocation.freed) continue;
    if (!allocation.created) leak(fmt::format("{} bytes at {:#x} were not freed", allocation.bytes, allocation.begin));
    for (const Violation& broken : its.memory.check_guards(allocation)) {
      violations.add(broken.rule, broken.message);
      ++leaks;
    }
  }
  drop_unused_memory();
  for (const auto& [number, memory] : virtual_memory.created) {
    if (memory.device != ordinal) continue;
    if (memory.held) leak(fmt::format("{} bytes that were created were not released", memory.bytes));
    if (virtual_memory.is_mapped(memory)) leak(fmt::format("{} bytes that were created stay mapped", memory.bytes));
    for (const Exported& exported : memory.descriptors) {
      leak(fmt::format("the descriptor {} of {} bytes was not closed", exported.descriptor, memory.bytes));
    }
  }
  return leaks;
}

std::size_t Simulator::check_device_leaks(int ordinal) {
  std::size_t leaks = check_memory_leaks(ordinal);
  const auto leak = [&](const std::string& what) {
    violations.add(Rule::leak, fmt::format("on device {}: {}", ordinal, what));
    ++leaks;
  };
  const DeviceState& its = *devices[static_cast<std::size_t>(ordinal)];
  for (const auto& [begin, range] : pinned.ranges) {
    if (range.device == ordinal) {
      leak(fmt::format("{} bytes of host memory at {:#x} were not {}", range.bytes, begin,
                       range.allocated ? "freed" : "unregistered"));
    }
  }
  std::set<StreamId> owned;  // by the context itself
  if (its.default_stream) owned.insert(*its.default_stream);
  for (const auto& [thread, id] : its.thread_streams) owned.insert(id);
  for (const auto& [id, stream] : timeline.streams()) {
    if (stream.device == ordinal && !stream.destroyed && owned.count(id) == 0) {
      leak(fmt::format("stream {} was not destroyed", id));
    }
  }
  for (const auto& [id, stream] : timeline.streams()) {
    if (stream.device == ordinal && captures.status(id) != cu::CaptureStatus::none) {
      leak(fmt::format("the capture of stream {} was not ended", id));
    }
  }
  for (const auto& [id, event] : events) {
    if (event.device == ordinal) leak("an event was not destroyed");
  }
  if (its.retained > 0) leak(fmt::format("the primary context was retained {} times too often", its.retained));
  return leaks;
}

}  // namespace sluice::sim
