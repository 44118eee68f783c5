#include "loader/python/own_engine.hpp"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "sluice/error.hpp"

namespace sluice::python {

struct OwnEngine::Process {
  Options options;
  std::shared_ptr<OwnEngine> current;
  std::vector<std::weak_ptr<OwnEngine>> all;  // that may still run loads
  pid_t id = 0;                               // whose `current` is
  bool ended = false;
};

OwnEngine::Process& OwnEngine::process() noexcept {
  // Never destroyed: loads may end after the last destructor of the process has run.
  // Without memory for it, the interpreter ends here.
  static auto* const process = new Process();  // NOLINT(bugprone-unhandled-exception-at-new)
  return *process;
}

std::shared_ptr<OwnEngine> OwnEngine::get() {
  Process& its = process();
  if (its.ended) {
    throw Error(ErrorCode::cancelled, "the interpreter is ending", {}, "load before it does");
  }
  if (its.current == nullptr || its.id != getpid()) {
    auto made = std::make_shared<OwnEngine>(its.options);
    if (its.id != getpid()) its.all.clear();  // they are the parent's
    std::erase_if(its.all, [](const auto& engine) { return engine.expired(); });
    its.all.push_back(made);
    its.current = std::move(made);
    its.id = getpid();
  }
  return its.current;
}

void OwnEngine::configure(const Options& options) {
  const Options checked = resolve(options);
  Process& its = process();
  its.options = checked;
  its.current.reset();
}

std::vector<std::shared_ptr<OwnEngine>> OwnEngine::give_up() {
  Process& its = process();
  its.ended = true;
  its.current.reset();
  std::vector<std::shared_ptr<OwnEngine>> running;
  if (its.id != getpid()) return running;
  for (const std::weak_ptr<OwnEngine>& engine : its.all) {
    if (auto still = engine.lock(); still != nullptr) running.push_back(std::move(still));
  }
  return running;
}

bool OwnEngine::was_given_up() noexcept {
  return process().ended;
}

OwnEngine::OwnEngine(const Options& options)
    : engine_(std::make_unique<Engine>(options)), options_(engine_->options()) {}

void OwnEngine::prepare(const std::vector<DeviceId>& devices) {
  const std::lock_guard lock(mutex_);
  if (engine_ != nullptr) engine_->prepare(devices);
}

Load OwnEngine::start(const Plan& plan) {
  const std::lock_guard lock(mutex_);
  if (engine_ == nullptr) throw Error(ErrorCode::cancelled, "the interpreter is ending", {}, "load before it does");
  return engine_->start(plan);
}

void OwnEngine::end() noexcept {
  const std::lock_guard lock(mutex_);
  engine_.reset();
}

}  // namespace sluice::python
