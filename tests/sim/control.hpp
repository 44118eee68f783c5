// What tests ask of the simulated driver beyond the driver's own calls: its settings, its faults, its clock, what it
// saw. README.md says what the simulator checks and what it cannot. Exported from libcuda.so.1.
// Threads: any, at any time; but reset() only while no other thread is in a call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cuda/driver_api.hpp"

#define SLUICE_SIM_API __attribute__((visibility("default")))

namespace sluice::sim {

/// When queued work is done, within what streams and events allow.
enum class Policy {
  eager,   // at once
  lazy,    // when somebody waits for it or has asked three times, and no more than that needs
  never,   // the same, but however often somebody asks: who does not wait has to do without
  random,  // as the seed says, at each call; whatever somebody waits for
};

/// How work takes time. With a clock, order is the clock's, and the policy says nothing.
enum class Clock {
  none,
  stepped,  // it stands until advance_to(); who waits blocks until then
  wall,     // it goes as the machine's does
};

using Nanoseconds = std::uint64_t;

struct DeviceSettings {
  std::uint64_t memory_bytes = std::uint64_t{256} << 20;
  int compute_capability = 90;  // 10 x major + minor
  // With a clock. A device has an engine for copies to it, one for copies from it and one for kernels; each does one
  // thing at a time. A kernel takes its time for the bytes that it loads and stores.
  double link_bytes_per_second = 25e9;
  Nanoseconds link_latency = 5'000;
  // What a copy's stream takes before it, since the work before it ended; the engine serves other streams meanwhile.
  Nanoseconds copy_set_up = 0;
  double kernel_bytes_per_second = 1e12;
  Nanoseconds kernel_latency = 3'000;

  bool integrated = false;     // as far as the driver says so: its memory is of a size of its own
  bool virtual_memory = true;  // else its attribute says so, and cuMemCreate and the like are not supported
  bool exports_memory = true;  // as a descriptor: the same
  bool rdma_to_memory = true;  // that cuMemCreate made: the same
  std::uint64_t granularity = std::uint64_t{2} << 20;  // of virtual memory; a power of two
};

struct Settings {
  std::vector<DeviceSettings> devices = std::vector<DeviceSettings>(2);
  Policy policy = Policy::eager;
  std::uint64_t seed = 1;
  Clock clock = Clock::none;
  int driver_version = 13000;       // calls, and images, that came later are not there
  bool initialized = true;          // as if cuInit had been called
  bool abort_on_violation = false;  // else they are collected; at the end of the process they count as not forgiven
};

/// Whether this is the simulator: tests/gpu/real_driver.cpp stands for it in programs that run on a real driver.
SLUICE_SIM_API bool is_simulated();

/// Forgets everything: contexts, memory, streams, faults, counts, violations; the leaks too, so see check_leaks().
/// Before the first reset, settings are those of the environment (README.md), and a violation ends the process.
SLUICE_SIM_API void reset(const Settings& settings = {});

/// Each is a class of mistakes, and what would happen on a real device.
enum class Rule {
  out_of_bounds,   // beyond an allocation: corrupts its neighbour
  freed,           // memory that was given back
  foreign,         // not device memory, or another device's
  no_access,       // reserved addresses where nothing is mapped, or to which no access was set
  bad_mapping,     // virtual memory that is reserved, mapped or given back otherwise than the manual has it
  undefined,       // reads what nobody wrote
  misaligned,      // a kernel's access
  not_pinned,      // an asynchronous copy that would silently be synchronous
  overwritten,     // the source of a copy changed before the host could know that it was read
  race,            // two accesses to device memory, one of them a write, that nothing orders
  in_use,          // memory, pinning, a stream or code given back before the host could know that work on it ended
  broken_guard,    // somebody wrote around an allocation
  bad_handle,      // destroyed, never created, or of another kind
  bad_kernel,      // a kernel that faults for another reason, or an image that does not parse
  released_early,  // a primary context released more often than retained
  leak,            // what was never given back
};

struct Violation {
  Rule rule{};
  std::string message;
};

SLUICE_SIM_API std::string_view name(Rule rule);
SLUICE_SIM_API std::vector<Violation> violations();
/// The same, and forgets them.
SLUICE_SIM_API std::vector<Violation> take_violations();
/// Records a violation for each thing that a clean process would have given back by now, and for each broken guard;
/// returns how many. Contexts that died do not count: nothing can be given back there.
SLUICE_SIM_API std::size_t check_leaks();

/// The nth use from now on (1 is the next) of a call, by its name without a version suffix, answers `result`, and does
/// nothing else. But what gives something back does so even then, since nobody could try again.
SLUICE_SIM_API void fail_call(std::string_view call, std::uint64_t nth, cu::Result result);
/// The nth cuMemAlloc or cuMemCreate from now on finds no memory.
SLUICE_SIM_API void fail_allocation(std::uint64_t nth);
/// The nth asynchronous copy, memset or kernel from now on, in the order of queueing, fails when it is its turn. Its
/// context is dead from then on: whatever was queued there is dropped, and every call answers `result`.
SLUICE_SIM_API void fail_operation(std::uint64_t nth, cu::Result result = cu::Result::illegal_address);

/// What was told to fail and has not, does not.
SLUICE_SIM_API void forget_faults();

/// From now on uses of a call, by its name without a version suffix, do not begin before release_calls(): as one that
/// waits for a lock of the driver's.
SLUICE_SIM_API void hold_call(std::string_view call);
SLUICE_SIM_API void release_calls();
/// Before the nth call from now on, of whatever name, the thread that makes it runs `then`, outside of the simulator's
/// lock: for tests in which something happens at any moment. Once; reset() forgets it.
SLUICE_SIM_API void before_call(std::uint64_t nth, std::function<void()> then);
/// How many threads are held.
SLUICE_SIM_API std::size_t held_threads();
/// Whether this thread is in a call: for tests that let allocations fail, but not those of a driver.
SLUICE_SIM_API bool is_in_call();

struct Counters {
  std::map<std::string, std::uint64_t, std::less<>> calls;    // by name, also those that failed
  std::map<std::string, std::uint64_t, std::less<>> callers;  // how many calls, by the calling thread's name
  std::uint64_t copies_in = 0;                                // to a device, done
  std::uint64_t bytes_in = 0;
  std::uint64_t copies_out = 0;
  std::uint64_t bytes_out = 0;
  std::uint64_t launches = 0;
  std::uint64_t on_default_streams = 0;   // operations queued there
  std::vector<std::uint64_t> peak_bytes;  // allocated, a device
};

SLUICE_SIM_API Counters counters();

/// The stepped clock.
SLUICE_SIM_API Nanoseconds now();
/// When the next operation ends, if one is under way.
SLUICE_SIM_API std::optional<Nanoseconds> next_completion();
/// Moves the clock, not backwards, and ends what ends until then. Returns how many waiting threads that releases.
SLUICE_SIM_API std::size_t advance_to(Nanoseconds time);
/// How many threads are blocked in cuEventSynchronize or cuStreamSynchronize.
SLUICE_SIM_API std::size_t blocked_threads();

/// What cuMemCreate made, and has not gone since.
struct Created {
  int device = 0;
  std::uint64_t bytes = 0;
  bool exportable = false;
  bool open_to_rdma = false;
};

SLUICE_SIM_API std::vector<Created> created_memory();

/// Where the simulator itself keeps a byte of device memory: for tests that play memory corruption. Not checked.
SLUICE_SIM_API std::byte* peek(cu::DevicePointer pointer);

}  // namespace sluice::sim
