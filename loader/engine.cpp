#include "sluice/engine.hpp"

#include <fmt/format.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "loader/engine_parts.hpp"
#include "loader/load_run.hpp"
#include "loader/load_state.hpp"
#include "loader/thread.hpp"
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
    while (const std::shared_ptr<LoadState> load = next()) {
      LoadRun(*load, parts).run();
      const std::lock_guard lock(mutex);
      loads.pop_front();
    }
  }

  /// The load whose turn it is, or nullptr when the engine ends.
  std::shared_ptr<LoadState> next() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return stopping || !loads.empty(); });
    return loads.empty() ? nullptr : loads.front();
  }

  const std::shared_ptr<Wakeup> wakeup;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::shared_ptr<LoadState>> loads;  // the first is running
  bool stopping = false;
  std::thread thread;  // last: it uses all of the above
};

Engine::Engine(const Options& options) : options_(resolve(options)), state_(std::make_unique<State>(options_)) {}

Engine::~Engine() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    for (const std::shared_ptr<LoadState>& load : state_->loads) load->cancel();
  }
  state_->changed.notify_all();
  state_->thread.join();
}

Load Engine::start(const Plan& plan) {
  if (plan.data()->slab_bytes > options_.slab_bytes) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the plan was made for slabs of {} bytes, the engine's have {}", plan.data()->slab_bytes,
                            options_.slab_bytes),
                {}, "pass the engine's options to make_plan");
  }
  auto load = std::make_shared<LoadState>(plan.data(), state_->wakeup);
  {
    const std::lock_guard lock(state_->mutex);
    state_->loads.push_back(load);
  }
  state_->changed.notify_all();
  return Load(std::move(load));
}

const Options& Engine::options() const noexcept {
  return options_;
}

}  // namespace sluice
