// Engine: threads, ring and staging; one per process is enough; every load reuses it. start() may be called from any
// thread. One load at a time has the disk: the others wait their turn, in order of start().
//
// After fork() the child may not use its parent's engines: start() and prepare() throw an Error. An engine that
// the child makes works.
#pragma once

#include <memory>
#include <vector>

#include "sluice/device.hpp"
#include "sluice/export.hpp"
#include "sluice/load.hpp"
#include "sluice/options.hpp"
#include "sluice/plan.hpp"

namespace sluice {

/// How a load begins.
struct StartOptions {
  /// Where the plan's arenas lie: at most one per device, of PlanCosts::OnDevice::arena_bytes at least, `data` a
  /// multiple of 4096. The memory is the caller's, under the rule of Destination::memory(). Devices that are not named
  /// get an allocation of the load's.
  std::vector<Memory> arenas = {};
  /// Nothing is written on a CUDA device before what is queued on its stream now has been done. Reading does not wait.
  /// `stream` is a CUstream or cudaStream_t of the device; it may be the default stream.
  struct After {
    DeviceId device;
    CUstream_st* stream = nullptr;
  };
  std::vector<After> after = {};
};

class SLUICE_API Engine {
 public:
  /// Costs only a thread and an eventfd. prepare() makes ring, slabs and devices, or else the first load that needs
  /// them does, beside its first reads; the engine keeps them. Throws Error{invalid_argument} for options out of
  /// bounds, and Error{system}.
  explicit Engine(const Options& options = {});
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  /// Cancels the loads that still run. Tensors that have arrived stay with their Load.
  ~Engine();

  /// Starts preparing what loads to `devices` will need, and returns at once: drivers start, kernels are loaded and the
  /// first slabs are pinned while the caller opens a checkpoint. What goes wrong is thrown by the load that needs it. A
  /// load that is started meanwhile does not wait for drivers: it reads, and finds its devices on their way.
  void prepare(const std::vector<DeviceId>& devices);

  /// Begins a load and returns at once. The Load throws what goes wrong; start() itself throws Error{invalid_argument}
  /// if the plan was made for larger slabs than this engine's, or if `options` do not fit the plan: then nothing has
  /// been touched.
  Load start(const Plan& plan, const StartOptions& options = {});

  const Options& options() const noexcept;

 private:
  struct State;
  Options options_;
  std::unique_ptr<State> state_;
};

}  // namespace sluice
