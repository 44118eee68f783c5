#include "sluice/engine.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <thread>
#include <utility>

#include "loader/base/stopwatch.hpp"
#include "loader/base/this_process.hpp"
#include "loader/base/thread.hpp"
#include "loader/engine/equipment.hpp"
#include "loader/engine/load_run.hpp"
#include "loader/engine/load_state.hpp"
#include "loader/plan/access.hpp"
#include "sluice/error.hpp"

namespace sluice {

struct Engine::State {
  /// A load to run, or devices to prepare; neither: the engine ends.
  struct Job {
    std::shared_ptr<LoadState> load;
    std::vector<DeviceId> devices;
    Stopwatch began = {};  // when it was queued, or the load before it ended
  };

  explicit State(const Options& options)
      : wakeup(std::make_shared<Wakeup>()), thread(start_thread("sluice-engine", [this, options] { run(options); })) {}

  void queue(Job job) {
    {
      const MutexLock lock(mutex);
      if (job.load != nullptr) {
        job.load->wait_behind(last);
        last = job.load;
      }
      jobs.push_back(std::move(job));
    }
    changed.notify_all();
    wakeup->notify();  // it may be waiting for drivers
  }

  /// The engine's thread. What the loads make is made, used and released here: an io_uring belongs to the thread that
  /// made it.
  void run(const Options& options) noexcept {
    Equipment equipment(options, wakeup);
    for (Job job = next(); job.load != nullptr || !job.devices.empty(); job = next()) {
      if (job.load == nullptr) {
        equipment.prepare(job.devices, [this] { return is_wanted(); });
      } else if (job.load->begin()) {
        run_load(*job.load, equipment, job.began);
      }
      {
        const MutexLock lock(mutex);
        running = nullptr;
        // A load that waits for devices to be prepared starts up meanwhile.
        for (Job& waiting : jobs) waiting.began = job.load == nullptr ? waiting.began : Stopwatch();
      }
      job = {};  // an idle engine holds nothing of the load that ended
    }
  }

  /// Whether the thread has more to do than to prepare devices.
  bool is_wanted() {
    const MutexLock lock(mutex);
    return stopping || std::any_of(jobs.begin(), jobs.end(), [](const Job& job) { return job.load != nullptr; });
  }

  /// The next job, once there is one. An engine that ends prepares nothing more.
  Job next() {
    MutexLock lock(mutex);
    for (;;) {
      while (!stopping && jobs.empty()) changed.wait(lock);
      if (jobs.empty()) return {};
      Job job = std::move(jobs.front());
      jobs.pop_front();
      if (stopping && job.load == nullptr) continue;
      running = job.load.get();
      return job;
    }
  }

  /// Cancels all loads, and lets the thread end when they have ended.
  void stop() {
    {
      const MutexLock lock(mutex);
      stopping = true;
      if (running != nullptr) running->cancel();
      for (const Job& job : jobs) {
        if (job.load != nullptr) job.load->cancel();
      }
    }
    changed.notify_all();
    wakeup->notify();
    thread.join();
  }

  const ThisProcess process;
  const std::shared_ptr<Wakeup> wakeup;
  Mutex mutex;
  Condition changed;
  std::deque<Job> jobs SLUICE_GUARDED_BY(mutex);           // that wait
  std::weak_ptr<LoadState> last SLUICE_GUARDED_BY(mutex);  // that was queued
  LoadState* running SLUICE_GUARDED_BY(mutex) = nullptr;
  bool stopping SLUICE_GUARDED_BY(mutex) = false;
  std::thread thread;  // last: it uses all of the above
};

namespace {

Error of_another_process() {
  return {ErrorCode::system,
          "the engine belongs to the process that forked this one: its threads are not here",
          {},
          "make an engine in the child"};
}

}  // namespace

Engine::Engine(const Options& options) : options_(resolve(options)), state_(std::make_unique<State>(options_)) {}

Engine::~Engine() {
  if (state_->process.is_still()) {
    state_->stop();
  } else {
    // The thread, and what it was doing when the process forked, are the parent's: there is nothing to end here.
    state_->thread.detach();
    static_cast<void>(state_.release());
  }
}

void Engine::prepare(const std::vector<DeviceId>& devices) {
  if (!state_->process.is_still()) throw of_another_process();
  if (!devices.empty()) state_->queue({nullptr, devices});
}

Load Engine::start(const Plan& plan, const StartOptions& options) {
  if (!state_->process.is_still()) throw of_another_process();
  const std::shared_ptr<const PlanData>& data = Access::data(plan);
  if (data->slab_bytes > options_.slab_bytes) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the plan was made for slabs of {} bytes, the engine's have {}", data->slab_bytes,
                            options_.slab_bytes),
                {}, "pass the engine's options to make_plan");
  }
  auto load = std::make_shared<LoadState>(plan, memory_for(plan, options), state_->wakeup, options_.trace);
  state_->queue({load, {}});
  return Access::load(std::move(load));
}

const Options& Engine::options() const noexcept {
  return options_;
}

}  // namespace sluice
