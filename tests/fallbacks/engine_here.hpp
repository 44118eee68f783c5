// EngineHere: an engine whose loads run on the calling thread, so that a test decides what happens between two of their
// steps: before each read is handed to storage and after each time the engine looked for what has finished.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "loader/engine/equipment.hpp"
#include "loader/engine/load_run.hpp"
#include "loader/engine/load_state.hpp"
#include "loader/plan/access.hpp"
#include "sluice/load.hpp"
#include "sluice/plan.hpp"

namespace sluice {

/// Another reader, and a function that is called between its steps.
class InterruptedReader final : public Reader {
 public:
  InterruptedReader(std::unique_ptr<Reader> reader, std::function<void()> between)
      : reader_(std::move(reader)), between_(std::move(between)) {}

  ReaderKind kind() const noexcept override { return reader_->kind(); }
  void use_slabs(std::span<std::byte> slabs, std::vector<Fallback>& fallbacks) override {
    reader_->use_slabs(slabs, fallbacks);
  }
  std::uint32_t add_file(int descriptor) override { return reader_->add_file(descriptor); }
  void remove_file(std::uint32_t file) noexcept override { reader_->remove_file(file); }
  void submit(const Read& read) override {
    between_();
    reader_->submit(read);
  }
  void wait(std::vector<Done>& done, bool block) override {
    reader_->wait(done, block);
    between_();
  }

 private:
  std::unique_ptr<Reader> reader_;
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
        make_reader(equipment_.options(), equipment_.wakeup(), untold), std::move(between)));
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
