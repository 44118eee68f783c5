// OwnEngine: the engine that all loads of a Python process share. Made by the first load; after fork() the child makes
// its own; ended when the interpreter ends, with all reads drained, since the memory that they fill goes then.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "sluice/engine.hpp"
#include "sluice/options.hpp"
#include "sluice/plan.hpp"

namespace sluice::python {

class OwnEngine {
 public:
  /// The process's engine. REQUIRES: the GIL. Throws Error.
  static std::shared_ptr<OwnEngine> get();
  /// Loads that begin from now on run on an engine of these options; those that run are left alone. REQUIRES: the GIL.
  static void configure(const Options& options);
  /// The engines that may still run loads, for the caller to end. No engine is made any more. REQUIRES: the GIL.
  static std::vector<std::shared_ptr<OwnEngine>> give_up();
  /// REQUIRES: the GIL.
  static bool was_given_up() noexcept;

  explicit OwnEngine(const Options& options);

  const Options& options() const noexcept { return options_; }
  void prepare(const std::vector<DeviceId>& devices);
  Load start(const Plan& plan);
  /// Cancels and drains its loads.
  void end() noexcept;

 private:
  struct Process;
  static Process& process() noexcept;

  std::mutex mutex_;
  std::unique_ptr<Engine> engine_;  // null once it was ended
  Options options_;
};

}  // namespace sluice::python
