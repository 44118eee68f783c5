// Plan: a request worked out against a checkpoint: the extents to read and the deliveries in each. Pure data, made
// without I/O and without any device, immutable, cheap to copy, safe to share between threads. One plan may be run many
// times.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "sluice/checkpoint.hpp"
#include "sluice/destination.hpp"
#include "sluice/device.hpp"
#include "sluice/error.hpp"
#include "sluice/export.hpp"
#include "sluice/options.hpp"
#include "sluice/request.hpp"
#include "sluice/tensor.hpp"

namespace sluice {

struct Access;
struct Bindings;
struct PlanData;

/// What running a plan costs. Byte counts are exact, but for tables, which may turn out shorter; a load's peaks stay
/// within them.
struct PlanCosts {
  std::uint64_t read_bytes = 0;       // from storage, with what is read beyond ends to keep them aligned
  std::uint64_t delivered_bytes = 0;  // to all devices together
  std::uint64_t extents = 0;
  std::uint64_t in_place_extents = 0;  // of them: read straight into their arena, without a slab
  std::uint64_t deliveries = 0;        // parts of extents, each for one tensor on one device
  std::uint64_t copies = 0;            // host: memory copies out of slabs; CUDA: copies queued
  std::uint64_t launches = 0;          // host: casts; CUDA: kernel launches
  std::uint64_t staging_bytes = 0;     // the most that the load holds in slabs
  std::uint64_t run_bytes_min = 0;     // the shortest run of bytes that stays together; 0 where nothing is delivered

  struct OnDevice {
    DeviceId device;
    std::uint64_t tensors = 0;
    std::uint64_t arena_bytes = 0;  // what has no memory of its own, and the gaps that alignment needs
    // Of arena_bytes, the most that are there at a time: all, unless Request::budget_bytes bounds them.
    std::uint64_t arena_peak_bytes = 0;
    std::uint64_t caller_bytes = 0;  // delivered to memory of the caller's
    std::uint64_t link_bytes =
        0;  // that travel to it: host: out of slabs; CUDA: over the link, gaps and tables included
    std::uint64_t scratch_bytes = 0;  // device memory beside the arena, given back at the end of the load
  };
  std::vector<OnDevice> devices;  // in the order in which the request first names them

  struct OfGroup {
    Group group;
    std::uint64_t tensors = 0;
    std::uint64_t delivered_bytes = 0;
    std::uint64_t read_bytes_until = 0;  // read from the beginning of the load until all of the group is there
  };
  std::vector<OfGroup> groups;  // ascending
};

class SLUICE_API Plan {
 public:
  const PlanCosts& costs() const noexcept;

  /// What a load of this plan delivers: destinations in the request's order, then tensors in file order, once per
  /// device that they go to; `data` is nullptr. Valid as long as any copy of this plan or a Load of it.
  std::vector<Tensor> tensors() const;

  /// Tensors of the checkpoint that no rule matches, in file order: what Request::strict would refuse. Valid as long as
  /// any copy of this plan.
  std::vector<const TensorInfo*> left_out() const;

  /// Wall-clock and processor seconds that make_plan() took.
  double seconds() const noexcept;
  double cpu_seconds() const noexcept;

 private:
  friend struct Access;
  Plan(std::shared_ptr<const PlanData> data, std::shared_ptr<const Bindings> bindings) noexcept;
  std::shared_ptr<const PlanData> data_;
  std::shared_ptr<const Bindings> bindings_;  // where the caller's memory lies
};

/// Works `request` out. `options` bounds extents and staging: pass the engine's. Throws Error{invalid_argument} for an
/// invalid request, Error{tensor_not_found} for a rule that matches nothing, Error{incomplete} for a destination that
/// rules do not fill, or fill twice, and for tensors that a strict request does not match, Error{limit_exceeded}, also
/// where destinations are made of parts that are read so far apart that they exceed Request::budget_bytes.
SLUICE_API Plan make_plan(const Checkpoint& checkpoint, const Request& request, const Options& options = {});

/// The request of `like` against another checkpoint, with every tensor where `like` has it: for a reload into the same
/// memory, by Load::arenas() and StartOptions::arenas, or where destinations have memory of their own. Tensors that the
/// request of `like` left out or skipped stay out. Throws Error{tensor_not_found} for a tensor that the checkpoint
/// lacks, Error{invalid_argument} for one of another shape or dtype and for a request with a budget, whose arenas do
/// not stay, and Error{incomplete} for tensors that a strict request was not tried on.
SLUICE_API Plan make_plan(const Checkpoint& checkpoint, const Plan& like);

/// All that make_plan() would refuse of the request itself, in the request's order: rules, then destinations, then the
/// request as a whole. It throws the first. Empty where it would succeed. No I/O.
SLUICE_API std::vector<Error> check(const Checkpoint& checkpoint, const Request& request);

}  // namespace sluice
