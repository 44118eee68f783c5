// Timeline: the streams, and when what is queued in them is done: as the policy or the clock says, whatever order and
// time the streams and waits between them leave open. It has no thread of its own. All that somebody may wait for has
// been queued before he can wait, so it is done by whoever waits or asks; in between, by anybody's calls.
// Threads: under the simulator's lock, which waiting for the clock lets go.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <vector>

#include "tests/sim/operation.hpp"

namespace sluice::sim {

struct StreamState {
  StreamId id = 0;
  int device = 0;
  bool blocking = false;    // waits for the device's default stream, and is waited for by it
  bool is_default = false;  // the legacy one
  bool destroyed = false;   // with work left in it
  std::deque<std::shared_ptr<Operation>> queue;
  std::shared_ptr<Operation> last;  // done or not
  std::uint64_t count = 0;
};

class Timeline {
 public:
  Timeline(const Settings& settings, std::mutex& lock);

  StreamId add_stream(int device, bool blocking, bool is_default = false);
  /// nullptr if there is none, or it was destroyed.
  StreamState* find(StreamId id);
  void destroy(StreamState& stream);
  const std::map<StreamId, StreamState>& streams() const { return streams_; }

  void enqueue(StreamState& stream, const std::shared_ptr<Operation>& operation);
  /// Somebody made a call.
  void tick();
  /// Somebody asks whether it is done.
  void poll(Operation& operation);
  /// Returns when it is done. The lock is let go while the clock has to move.
  void wait(const std::shared_ptr<Operation>& operation);
  /// Drops all that is queued on a device: it counts as done.
  void drop(int device);

  Nanoseconds now() const { return now_; }
  std::optional<Nanoseconds> next_completion();
  /// Returns how many waiting threads this releases.
  std::size_t advance_to(Nanoseconds time);
  std::size_t blocked_threads() const { return waiting_.size(); }

  /// What the host knows to be done; no matter which thread learned it, since what threads tell each other is not seen.
  VectorClock host;

 private:
  static bool ready(const StreamState& stream);
  void run(StreamState& stream);
  bool run_any();
  void finish(Operation& operation);
  void start_ready();
  bool start_or_run(StreamState& stream);
  StreamState* next_to_end();
  void follow_wall_clock();
  std::size_t release();
  Nanoseconds wall_now() const;

  Policy policy_;
  Clock clock_;
  std::mutex& lock_;
  std::condition_variable_any time_passed_;
  std::mt19937_64 random_;
  std::map<StreamId, StreamState> streams_;
  StreamId last_id_ = 0;
  Nanoseconds now_ = 0;
  std::chrono::steady_clock::time_point wall_begin_ = std::chrono::steady_clock::now();
  std::map<int, std::array<Nanoseconds, engine_count>> engine_free_at_;  // a device
  std::vector<std::shared_ptr<Operation>> waiting_;                      // what threads are blocked for
};

}  // namespace sluice::sim
