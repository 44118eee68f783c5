// Engine: threads, ring and staging; one a process is enough, reused by every load. start() may be called from any
// thread. Loads that are started while another runs wait their turn: one load at a time has the disk, in order of
// start().
#pragma once

#include <memory>
#include <vector>

#include "sluice/device.hpp"
#include "sluice/export.hpp"
#include "sluice/load.hpp"
#include "sluice/options.hpp"
#include "sluice/plan.hpp"

namespace sluice {

class SLUICE_API Engine {
 public:
  /// Takes no more than a thread and an eventfd; ring, slabs and devices are made by prepare(), or by the first load
  /// that needs them, beside its first reads, and kept. Throws Error{invalid_argument} for options out of bounds,
  /// Error{system}.
  explicit Engine(const Options& options = {});
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  /// Ends the loads that still run as if they were cancelled. Tensors that have arrived stay with their Load.
  ~Engine();

  /// Has the engine make ready what loads to `devices` will need, and returns at once: drivers start, kernels are
  /// loaded and slabs pinned while the caller opens a checkpoint. What goes wrong is thrown by the load that needs it.
  void prepare(const std::vector<DeviceId>& devices);

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
