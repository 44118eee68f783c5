// Engine: threads, ring and staging; one a process is enough, reused by every load. start() may be called from any
// thread. Loads that are started while another runs wait their turn: one load at a time has the disk, in order of
// start().
#pragma once

#include <memory>

#include "sluice/export.hpp"
#include "sluice/load.hpp"
#include "sluice/options.hpp"
#include "sluice/plan.hpp"

namespace sluice {

class SLUICE_API Engine {
 public:
  /// Takes no more than a thread and an eventfd; ring, slabs and devices are made by the first load that needs them,
  /// beside its first reads, and kept. Throws Error{invalid_argument} for options out of bounds, Error{system}.
  explicit Engine(const Options& options = {});
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  /// Ends the loads that still run as if they were cancelled. Tensors that have arrived stay with their Load.
  ~Engine();

  /// Begins a load and returns at once. What goes wrong is thrown from the Load, except Error{invalid_argument} here
  /// where the plan was made for larger slabs than this engine's.
  Load start(const Plan& plan);

  const Options& options() const noexcept;

 private:
  struct State;
  Options options_;
  std::unique_ptr<State> state_;
};

}  // namespace sluice
