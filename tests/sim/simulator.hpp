// Simulator: everything that the driver's entry points act on, under one lock. The entry points are in *_calls.cpp;
// each goes in through call() or release(), which count it, fail it where that was planned, and see to the context.
#pragma once

#include <unistd.h>

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/sim/capture.hpp"
#include "tests/sim/device_memory.hpp"
#include "tests/sim/faults.hpp"
#include "tests/sim/pinned_memory.hpp"
#include "tests/sim/timeline.hpp"
#include "tests/sim/violations.hpp"
#include "tests/sim/virtual_memory.hpp"

namespace sluice::sim {

struct Image;  // image.hpp

struct DeviceState {
  DeviceState(const DeviceSettings& its_settings, int ordinal, std::uint64_t seed, const VirtualMemory& virtual_memory)
      : settings(its_settings), memory(its_settings.memory_bytes, ordinal, seed, virtual_memory) {}

  DeviceSettings settings;
  DeviceMemory memory;
  // Its primary context:
  int retained = 0;
  cu::Result dead = cu::Result::success;  // what killed it
  std::optional<StreamId> default_stream;
  std::map<std::thread::id, StreamId> thread_streams;
};

struct EventState {
  int device = 0;
  bool timed = false;
  std::shared_ptr<Operation> recorded;  // the last record; nullptr: never, or it was captured
  std::optional<StreamId> captured_in;  // the stream whose capture took the last record
};

struct CodeState {                     // a module or a library
  std::shared_ptr<const Image> image;  // nullptr: nobody has found out yet that it is refused
  std::optional<int> device;           // whose context a module is of
  std::map<StreamId, Stamp> users;     // the last kernel of each stream
  cu::Result refused = cu::Result::success;
};

struct FunctionState {
  std::uint64_t code = 0;
  std::string name;
};

enum class Needs { nothing, driver, context };

struct Entry {
  cu::Result result = cu::Result::success;  // else the call's answer
  bool may_act = true;                      // what the call acts on is there, whatever its answer
};

class Simulator {
 public:
  explicit Simulator(const Settings& settings, std::mutex& its_lock);

  Settings settings;
  Violations violations;
  Faults faults;
  Timeline timeline;
  Captures captures;
  VirtualMemory virtual_memory;
  std::vector<std::unique_ptr<DeviceState>> devices;
  PinnedMemory pinned;
  std::map<std::uint64_t, EventState> events;
  std::map<std::uint64_t, CodeState> code;
  std::map<std::uint64_t, FunctionState> functions;
  std::uint64_t last_id = 0;  // of events, code and functions
  Counters counts;
  std::string held_call;  // none if empty
  std::size_t held_threads = 0;
  std::uint64_t calls_until_interruption = 0;  // 0: there is none
  std::function<void()> interruption;
  std::condition_variable released;
  bool initialized;
  bool ended = false;

  bool same_process() const { return getpid() == process_; }
  /// What a call begins with.
  Entry enter(const char* name, Needs needs);
  /// The device whose context is current on this thread. Only in a call that needs a context.
  DeviceState& device() { return *devices[static_cast<std::size_t>(device_ordinal())]; }
  int device_ordinal() const { return context_stack().back(); }
  /// The contexts that this thread has pushed, by their devices' ordinals.
  std::vector<int>& context_stack() const;

  /// The stream of a handle, with the default ones; nullptr, and a violation, for none. A result other than success is
  /// what a call on it has to answer.
  StreamState* find_stream(cu::Stream handle, cu::Result& result);
  EventState* find_event(cu::Event handle, cu::Result& result);

  /// Whether it is the default stream of a context of which a blocking stream captures.
  bool is_joined_by_capture(const StreamState& stream) const;
  /// What a call answers that queues something in the stream, which a capture takes, or forbids; nullopt: there is
  /// none.
  std::optional<cu::Result> capture(const StreamState& stream);
  /// What a call has to answer that waits for the stream or asks about it: not success where the stream captures, which
  /// that spoils.
  cu::Result forbid_captured(const StreamState& stream);
  /// The same of an event whose last record was captured.
  cu::Result forbid_captured(const EventState& event);
  /// Queues a copy or a kernel, unless it is bad.
  void enqueue(StreamState& stream, const std::shared_ptr<Operation>& operation);
  /// The host has found that it is done: everything before it is, too.
  cu::Result learn_done(const Operation& operation);
  /// The source of a copy must be as it was when it was queued.
  void check_source(const Operation& operation);
  bool known_done(const Stamp& stamp) const { return timeline.host.saw(stamp); }
  /// Does an access to device memory, in the order of things: checks it, and logs it.
  bool access(const Operation& operation, std::uint64_t address, std::uint64_t bytes, Use use);
  /// Reports what may still use a device's memory, all of it in one piece, that a call gives back.
  void check_unused(const std::string& what, int device, std::uint64_t address, std::uint64_t bytes);
  void report_in_use(const std::string& what, const Stamp& user);
  /// Created memory goes once nobody has it mapped, nor a handle or a descriptor of it.
  void drop_unused_memory();
  /// The context is dead from now on.
  void kill(int device, cu::Result reason);

  /// Records what is left; returns how much that is.
  std::size_t check_leaks();
  std::size_t check_device_leaks(int ordinal);

 private:
  std::size_t check_memory_leaks(int ordinal);
  void log_access(const Operation& operation, const Stretch& stretch, std::uint64_t address, std::uint64_t bytes,
                  Use use);

  pid_t process_ = getpid();
  std::uint64_t epoch_;  // contexts that were pushed before a reset are not current any more
  std::vector<std::shared_ptr<Operation>> unconfirmed_;  // copies from host memory that the host must still leave alone
};

/// The one of this process, and its lock. Both stay until the process is gone.
std::mutex& simulator_lock();
Simulator& simulator();
void replace_simulator(const Settings& settings);

/// Holds the simulator's lock for a call, which begins when what was to come before it has been done, and nobody holds
/// it back.
class CallLock {
 public:
  explicit CallLock(const char* name);
  ~CallLock();
  CallLock(const CallLock&) = delete;
  CallLock& operator=(const CallLock&) = delete;

  /// By this thread.
  static bool is_held();

 private:
  std::unique_lock<std::mutex> lock_;
};

/// Runs the body of a driver call.
template <typename Body>
cu::Result call(const char* name, Needs needs, Body&& body) {
  const CallLock lock(name);
  Simulator& sim = simulator();
  const Entry entry = sim.enter(name, needs);
  return entry.result == cu::Result::success ? body(sim) : entry.result;
}

/// Runs the body of one that gives something back: it does so even where the call fails because it was planned to, or
/// because the context is dead, as nobody could try again.
template <typename Body>
cu::Result release(const char* name, Needs needs, Body&& body) {
  const CallLock lock(name);
  Simulator& sim = simulator();
  const Entry entry = sim.enter(name, needs);
  if (!entry.may_act) return entry.result;
  const cu::Result result = body(sim);
  return entry.result == cu::Result::success ? result : entry.result;
}

/// Handles are numbers that are never used twice, with the kind in the lower bits, so that a handle of another kind, or
/// of something that is gone, is known for one.
enum class HandleKind : std::uint64_t { context = 1, stream, event, code, function, graph, memory };

template <typename Handle>
Handle to_handle(HandleKind kind, std::uint64_t id) {
  return reinterpret_cast<Handle>(id * 64 + 32 + static_cast<std::uint64_t>(kind));
}

template <typename Handle>
std::optional<std::uint64_t> from_handle(HandleKind kind, Handle handle) {
  const auto number = reinterpret_cast<std::uint64_t>(handle);
  if (number < 64 || number % 64 != 32 + static_cast<std::uint64_t>(kind)) return std::nullopt;
  return number / 64;
}

}  // namespace sluice::sim
