#include "tests/sim/timeline.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace sluice::sim {

namespace {
// Who asks again and again whether work is done would otherwise wait for ever, as he does under the policy `never`.
constexpr int polls_until_progress = 3;
}  // namespace

Timeline::Timeline(const Settings& settings, std::mutex& lock)
    : policy_(settings.policy), clock_(settings.clock), lock_(lock), random_(settings.seed) {}

StreamId Timeline::add_stream(int device, bool blocking, bool is_default) {
  std::erase_if(streams_, [](const auto& entry) { return entry.second.destroyed && entry.second.queue.empty(); });
  StreamState& stream = streams_[++last_id_];
  stream.id = last_id_;
  stream.device = device;
  stream.blocking = blocking;
  stream.is_default = is_default;
  return last_id_;
}

StreamState* Timeline::find(StreamId id) {
  const auto found = streams_.find(id);
  return found == streams_.end() || found->second.destroyed ? nullptr : &found->second;
}

void Timeline::destroy(StreamState& stream) {
  // What is left in it is still done: "the resources associated with hStream will be released automatically once the
  // device has completed all work in hStream".
  stream.destroyed = true;
  if (stream.queue.empty()) streams_.erase(stream.id);
}

void Timeline::enqueue(StreamState& stream, const std::shared_ptr<Operation>& operation) {
  for (const auto& [id, other] : streams_) {
    const bool joined = stream.is_default ? other.blocking : stream.blocking && other.is_default;
    if (joined && other.device == stream.device && other.last != nullptr) operation->after.push_back(other.last);
  }
  operation->device = stream.device;
  operation->stamp = {stream.id, ++stream.count, operation->what};
  operation->clock = host;
  if (stream.last != nullptr) operation->clock.merge(stream.last->clock);
  for (const auto& earlier : operation->after) operation->clock.merge(earlier->clock);
  operation->clock.see(operation->stamp);
  stream.last = operation;
  stream.queue.push_back(operation);
  if (clock_ == Clock::none && policy_ == Policy::eager) finish(*operation);
  tick();
}

void Timeline::tick() {
  if (clock_ == Clock::wall) {
    follow_wall_clock();
  } else if (clock_ == Clock::stepped) {
    start_ready();
  } else if (policy_ == Policy::random) {
    while (random_() % 3 == 0 && run_any()) {
    }
  }
}

void Timeline::poll(Operation& operation) {
  tick();
  if (clock_ != Clock::none || policy_ == Policy::never) return;
  if (++operation.polls >= polls_until_progress) finish(operation);
}

void Timeline::wait(const std::shared_ptr<Operation>& operation) {
  tick();
  if (clock_ == Clock::none) return finish(*operation);
  if (operation->done) return;
  waiting_.push_back(operation);
  while (!operation->done) {
    const auto next = clock_ == Clock::wall ? next_completion() : std::nullopt;
    if (next) {
      time_passed_.wait_until(lock_, wall_begin_ + std::chrono::nanoseconds(*next));
      follow_wall_clock();
    } else {
      time_passed_.wait(lock_);
    }
  }
  const auto still = std::find(waiting_.begin(), waiting_.end(), operation);
  if (still != waiting_.end()) waiting_.erase(still);
}

void Timeline::drop(int device) {
  for (auto& [id, stream] : streams_) {
    if (stream.device != device) continue;
    for (const auto& operation : stream.queue) operation->done = true;
    stream.queue.clear();
    if (stream.last != nullptr) host.merge(stream.last->clock);
  }
  time_passed_.notify_all();
}

bool Timeline::ready(const StreamState& stream) {
  return !stream.queue.empty() && std::all_of(stream.queue.front()->after.begin(), stream.queue.front()->after.end(),
                                              [](const auto& earlier) { return earlier->done; });
}

/// Does the first operation of a stream, which is ready.
void Timeline::run(StreamState& stream) {
  const std::shared_ptr<Operation> operation = stream.queue.front();
  const bool ran_when_started = operation->engine == Engine::kernel && operation->end;
  if (operation->work && !ran_when_started) operation->work(*operation);
  if (operation->done) return;  // it was its device's last
  operation->done = true;
  operation->done_at = clock_ == Clock::none ? wall_now() : now_;
  operation->after.clear();
  stream.queue.pop_front();
}

bool Timeline::run_any() {
  std::vector<StreamState*> able;
  for (auto& [id, stream] : streams_) {
    if (ready(stream)) able.push_back(&stream);
  }
  if (able.empty()) return false;
  run(*able[random_() % able.size()]);
  return true;
}

void Timeline::finish(Operation& operation) {
  while (!operation.done) {
    if (policy_ == Policy::random) {
      run_any();
      continue;
    }
    StreamState& stream = streams_.at(operation.stamp.stream);
    const std::vector<std::shared_ptr<Operation>> after = stream.queue.front()->after;
    for (const auto& earlier : after) finish(*earlier);
    if (!operation.done) run(stream);
  }
}

void Timeline::start_ready() {
  bool moved = true;
  while (std::exchange(moved, false)) {
    for (auto& [id, stream] : streams_) moved |= start_or_run(stream);
  }
}

/// With a clock: what takes no time is done, what takes some gets its turn on its engine. Whether anything was done.
bool Timeline::start_or_run(StreamState& stream) {
  if (!ready(stream) || stream.queue.front()->end) return false;
  const std::shared_ptr<Operation> operation = stream.queue.front();
  if (operation->engine == Engine::none) {
    run(stream);
    return true;
  }
  if (operation->engine == Engine::kernel) operation->work(*operation);
  if (operation->done) return true;  // it was its device's last
  Nanoseconds& free_at = engine_free_at_[operation->device][static_cast<std::size_t>(operation->engine)];
  free_at = std::max(now_ + operation->set_up, free_at) + operation->duration;
  operation->end = free_at;
  return false;
}

StreamState* Timeline::next_to_end() {
  StreamState* next = nullptr;
  for (auto& [id, stream] : streams_) {
    if (stream.queue.empty() || !stream.queue.front()->end) continue;
    if (next == nullptr || *stream.queue.front()->end < *next->queue.front()->end) next = &stream;
  }
  return next;
}

std::optional<Nanoseconds> Timeline::next_completion() {
  const StreamState* next = next_to_end();
  return next == nullptr ? std::nullopt : next->queue.front()->end;
}

std::size_t Timeline::advance_to(Nanoseconds time) {
  start_ready();
  for (StreamState* next = next_to_end(); next != nullptr && *next->queue.front()->end <= time; next = next_to_end()) {
    now_ = *next->queue.front()->end;
    run(*next);
    start_ready();
  }
  now_ = std::max(now_, time);
  return release();
}

void Timeline::follow_wall_clock() {
  advance_to(wall_now());
}

Nanoseconds Timeline::wall_now() const {
  return static_cast<Nanoseconds>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - wall_begin_).count());
}

std::size_t Timeline::release() {
  const auto done =
      std::remove_if(waiting_.begin(), waiting_.end(), [](const auto& operation) { return operation->done; });
  const auto count = static_cast<std::size_t>(waiting_.end() - done);
  waiting_.erase(done, waiting_.end());
  time_passed_.notify_all();
  return count;
}

}  // namespace sluice::sim
