// EngineHere: an engine whose loads run on the calling thread, so that a test decides what happens between two of their
// steps: before each read is handed to storage and after each time the engine looked for what has finished. Nobody asks
// a file system anything while it does.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "loader/engine/equipment.hpp"
#include "loader/engine/load_run.hpp"
#include "loader/engine/load_state.hpp"
#include "loader/plan/access.hpp"
#include "sluice/load.hpp"
#include "sluice/plan.hpp"
#include "tests/loader/support/forwarding_reader.hpp"
#include "tests/loader/support/settle.hpp"

namespace sluice {

/// Another reader, and a function that is called between its steps.
class InterruptedReader final : public ForwardingReader {
 public:
  InterruptedReader(std::unique_ptr<Reader> reader, std::function<void()> between)
      : ForwardingReader(std::move(reader)), between_(std::move(between)) {}

  void submit(const Read& read) override {
    between_();
    ForwardingReader::submit(read);
  }
  void wait(std::vector<Done>& done, bool block) override {
    ForwardingReader::wait(done, block);
    between_();
  }

 private:
  std::function<void()> between_;
};

class EngineHere {
 public:
  using MakeReader = std::function<std::unique_ptr<Reader>(const Options&, Wakeup&)>;

  /// Its loads read with the reader that is made here.
  EngineHere(const Options& options, const MakeReader& make) : equipment_(resolve(options), wakeup_) {
    equipment_.use_reader(make(equipment_.options(), equipment_.wakeup()));
  }
  explicit EngineHere(
      const Options& options, std::function<void()> between = [] {})
      : equipment_(resolve(options), wakeup_) {
    std::vector<Fallback> untold;
    equipment_.use_reader(std::make_unique<InterruptedReader>(
        make_reader(equipment_.options(), equipment_.wakeup(), untold), [this, between = std::move(between)] {
          settle(equipment_.file_asker().workers());
          between();
        }));
  }

  /// A load of `plan` that has ended.
  Load run(const Plan& plan, const StartOptions& options = {}) {
    auto state = std::make_shared<LoadState>(plan, memory_for(plan, options), wakeup_, equipment_.options().trace);
    running_ = state.get();
    if (state->begin()) run_load(*state, equipment_);
    running_ = nullptr;
    return Access::load(std::move(state));
  }
  /// The load that runs, for what is called between its steps; nullptr where none does.
  LoadState* running() const { return running_; }

 private:
  LoadState* running_ = nullptr;
  const std::shared_ptr<Wakeup> wakeup_ = std::make_shared<Wakeup>();
  Equipment equipment_;
};

}  // namespace sluice
