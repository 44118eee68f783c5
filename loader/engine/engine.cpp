#include "sluice/engine.hpp"

#include <fmt/format.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "loader/base/stopwatch.hpp"
#include "loader/base/thread.hpp"
#include "loader/engine/engine_parts.hpp"
#include "loader/engine/load_run.hpp"
#include "loader/engine/load_state.hpp"
#include "loader/plan/access.hpp"
#include "sluice/error.hpp"

namespace sluice {

struct Engine::State {
  explicit State(const Options& options)
      : wakeup(std::make_shared<Wakeup>()), thread(start_thread("sluice-engine", [this, options] { run(options); })) {}

  void run(const Options& options) {
    // What the loads make is made, used and let go of on this thread: an io_uring belongs to the thread that made it.
    EngineParts parts;
    parts.options = options;
    parts.wakeup = wakeup;
    for (Job job = next(); job.load != nullptr || !job.devices.empty(); job = next()) {
      if (job.load == nullptr) {
        parts.prepare(job.devices);
      } else {
        LoadRun(*job.load, parts, job.began).run();
      }
      const std::lock_guard lock(mutex);
      jobs.pop_front();
      if (job.load == nullptr) continue;  // a load that waits for devices to be prepared starts up meanwhile
      for (Job& waiting : jobs) waiting.began = Stopwatch();
    }
  }

  /// A load to run, or devices to prepare; neither: the engine ends.
  struct Job {
    std::shared_ptr<LoadState> load;
    std::vector<DeviceId> devices;
    Stopwatch began = {};  // when it was queued, or the load before it ended
  };

  Job next() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return stopping || !jobs.empty(); });
    return jobs.empty() ? Job{} : jobs.front();
  }

  void queue(Job job) {
    {
      const std::lock_guard lock(mutex);
      jobs.push_back(std::move(job));
    }
    changed.notify_all();
  }

  const std::shared_ptr<Wakeup> wakeup;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Job> jobs;  // the first is being done
  bool stopping = false;
  std::thread thread;  // last: it uses all of the above
};

Engine::Engine(const Options& options) : options_(resolve(options)), state_(std::make_unique<State>(options_)) {}

Engine::~Engine() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    for (const State::Job& job : state_->jobs) {
      if (job.load != nullptr) job.load->cancel();
    }
  }
  state_->changed.notify_all();
  state_->thread.join();
}

void Engine::prepare(const std::vector<DeviceId>& devices) {
  if (!devices.empty()) state_->queue({nullptr, devices});
}

Load Engine::start(const Plan& plan) {
  if (Access::data(plan)->slab_bytes > options_.slab_bytes) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the plan was made for slabs of {} bytes, the engine's have {}",
                            Access::data(plan)->slab_bytes, options_.slab_bytes),
                {}, "pass the engine's options to make_plan");
  }
  auto load = std::make_shared<LoadState>(Access::data(plan), state_->wakeup, options_.trace);
  state_->queue({load, {}});
  return Access::load(std::move(load));
}

const Options& Engine::options() const noexcept {
  return options_;
}

}  // namespace sluice
