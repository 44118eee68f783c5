// Captures: which streams record a graph instead of doing what is queued in them, and which calls other threads may
// make meanwhile. Nobody launches the graphs, so what is captured is forgotten. Threads: under the simulator's lock.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <thread>

#include "cuda/driver_api.hpp"
#include "tests/sim/order.hpp"

namespace sluice::sim {

class Captures {
 public:
  /// Whether this thread may make a call now. If not, the captures that forbid it are spoiled by it.
  bool allow(std::string_view call);
  /// Sets this thread's mode; returns the one before.
  cu::CaptureMode exchange(cu::CaptureMode mode);

  /// REQUIRES: the stream does not capture.
  void begin(StreamId stream, cu::CaptureMode mode);
  /// Whether a graph came of it.
  cu::Result end(StreamId stream);
  cu::CaptureStatus status(StreamId stream) const;
  /// What a call answers that queues something in the stream and is captured by it; nullopt: it does not capture.
  std::optional<cu::Result> take(StreamId stream) const;
  /// The capture of a stream, if there is one, will give no graph.
  void spoil(StreamId stream);

  std::set<std::uint64_t> graphs;  // by number; until they are destroyed

 private:
  struct Capture {
    std::thread::id thread;
    cu::CaptureMode mode{};
    bool valid = true;
  };

  bool forbids(const Capture& capture) const;

  std::map<StreamId, Capture> running_;
  std::map<std::thread::id, cu::CaptureMode> modes_;  // of threads that have set one
};

}  // namespace sluice::sim
