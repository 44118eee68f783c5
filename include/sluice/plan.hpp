// Plan: a request worked out against a checkpoint: the extents to read and the deliveries in each. Pure data, made
// without I/O and without any device, immutable, cheap to copy, safe to share between threads. One plan may be run many
// times.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "sluice/checkpoint.hpp"
#include "sluice/device.hpp"
#include "sluice/export.hpp"
#include "sluice/options.hpp"
#include "sluice/request.hpp"
#include "sluice/tensor.hpp"

namespace sluice {

struct Access;
struct PlanData;

/// What running a plan costs. Byte counts are exact; a load's peaks stay within them.
struct PlanCosts {
  std::uint64_t read_bytes = 0;       // from storage, with what is read beyond ends to keep them aligned
  std::uint64_t delivered_bytes = 0;  // to all devices together
  std::uint64_t extents = 0;
  std::uint64_t in_place_extents = 0;  // of them: read straight into their arena, without a slab
  std::uint64_t deliveries = 0;        // parts of extents, each for one tensor on one device
  std::uint64_t copies = 0;            // host: memory copies out of slabs; CUDA: copies queued
  std::uint64_t launches = 0;          // host: casts; CUDA: kernel launches
  std::uint64_t staging_bytes = 0;     // the most that the load holds in slabs

  struct OnDevice {
    DeviceId device;
    std::uint64_t tensors = 0;
    std::uint64_t arena_bytes = 0;    // one allocation; tensors and the gaps that alignment needs
    std::uint64_t scratch_bytes = 0;  // device memory beside the arena, given back at the end of the load
  };
  std::vector<OnDevice> devices;  // in the order in which the request first names them
};

class SLUICE_API Plan {
 public:
  const PlanCosts& costs() const noexcept;

  /// The tensors that a load of this plan delivers, in file order, once per device that they go to; `data` is nullptr.
  /// Valid as long as any copy of this plan or a Load of it.
  std::vector<Tensor> tensors() const;

  /// Wall-clock and processor seconds that make_plan() took.
  double seconds() const noexcept;
  double cpu_seconds() const noexcept;

 private:
  friend struct Access;
  explicit Plan(std::shared_ptr<const PlanData> data) noexcept;
  std::shared_ptr<const PlanData> data_;
};

/// Works `request` out. `options` bounds extents and staging: pass the engine's. Throws Error{invalid_argument} for an
/// invalid request, Error{tensor_not_found} for a rule that matches nothing, Error{limit_exceeded}.
SLUICE_API Plan make_plan(const Checkpoint& checkpoint, const Request& request, const Options& options = {});

}  // namespace sluice
