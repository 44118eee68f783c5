#include "loader/plan/plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "loader/base/limits.hpp"
#include "loader/base/stopwatch.hpp"
#include "loader/base/tracer.hpp"
#include "loader/plan/access.hpp"
#include "loader/plan/cut_extents.hpp"
#include "loader/plan/kernel_table.hpp"
#include "loader/plan/placement.hpp"
#include "loader/plan/selection.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

// Placements, without their places in arenas, of all that the request selects.
void add_placements(PlanData& plan, const Selection& selection) {
  const BigVector<TensorInfo>& tensors = plan.catalogue->tensors;
  std::uint64_t count = 0;
  for (const std::uint32_t rule : selection.rule_of) count += rule == Selection::none ? 0 : selection.rules[rule].count;
  plan.placements.reserve(count);
  std::uint64_t selected_bytes = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (selection.rule_of[i] == Selection::none) continue;
    const TensorInfo& tensor = tensors[i];
    selected_bytes += tensor.bytes;
    if (selected_bytes / plan.slab_bytes >= limits::extents_max) {
      throw Error(ErrorCode::limit_exceeded,
                  fmt::format("the request wants more than {} slabs of {} bytes", limits::extents_max, plan.slab_bytes),
                  {plan.catalogue->path.string(), {}, {}}, "raise slab_bytes");
    }
    const Selection::RuleTargets& rule = selection.rules[selection.rule_of[i]];
    Placement placement;
    placement.tensor = static_cast<std::uint32_t>(i);
    placement.dtype = rule.cast && is_castable(tensor.dtype) ? *rule.cast : tensor.dtype;
    placement.bytes = delivered_bytes(tensor.bytes, tensor.dtype, placement.dtype);
    for (const std::uint8_t device : selection.targets_of(rule)) {
      placement.device = device;
      plan.placements.push_back(placement);
      ++plan.costs.devices[device].tensors;
      plan.costs.delivered_bytes += placement.bytes;
    }
  }
}

// What the placements want of the shards, in file order.
BigVector<Wanted> wanted_by(const PlanData& plan) {
  BigVector<Wanted> wanted;
  wanted.reserve(plan.placements.size());
  for (std::uint32_t i = 0; i < plan.placements.size();) {
    const Placement& first = plan.placements[i];
    const TensorInfo& tensor = plan.catalogue->tensors[first.tensor];
    Wanted range;
    range.begin = tensor.offset;
    range.end = tensor.offset + tensor.bytes;
    range.shard = tensor.shard;
    range.first_placement = i;
    range.unit_bytes = first.dtype == tensor.dtype ? 1 : bits(tensor.dtype) / 8;
    range.dtype = tensor.dtype;
    while (i < plan.placements.size() && plan.placements[i].tensor == first.tensor) ++i;
    range.placement_count = i - range.first_placement;
    if (tensor.bytes != 0) wanted.push_back(range);
  }
  return wanted;
}

void count_costs(PlanData& plan, std::uint64_t staging_bytes) {
  PlanCosts& costs = plan.costs;
  costs.extents = plan.extents.size();
  costs.deliveries = plan.deliveries.size();
  for (const Extent& extent : plan.extents) {
    costs.read_bytes += extent.bytes;
    if (extent.in_place) ++costs.in_place_extents;
    for (const Part& part : plan.parts_of(extent)) {
      costs.copies += part.copies;
      costs.launches += part.launches;
      if (part.goes_to_scratch() && plan.devices[part.device].kind == DeviceId::Kind::cuda) {
        costs.devices[part.device].scratch_bytes = scratch_slabs * plan.slab_bytes;
      }
    }
  }
  const std::uint64_t staged_extents = costs.extents - costs.in_place_extents;
  costs.staging_bytes = plan.slab_bytes * std::min(staging_bytes / plan.slab_bytes, staged_extents);
}

}  // namespace

Plan make_plan(std::shared_ptr<const Catalogue> catalogue, const Request& request, const Options& options) {
  const Stopwatch stopwatch;
  const Tracer::Range range({.what = Span::What::plan});
  const Options resolved = resolve(options);
  const auto plan = std::make_shared<PlanData>();
  plan->catalogue = std::move(catalogue);
  plan->slab_bytes = resolved.slab_bytes;
  plan->alignment_bytes = request.alignment_bytes;

  const Selection selection = select(*plan->catalogue, request);
  plan->devices = selection.devices;
  plan->costs.devices.resize(plan->devices.size());
  for (std::size_t i = 0; i < plan->devices.size(); ++i) plan->costs.devices[i].device = plan->devices[i];

  add_placements(*plan, selection);
  const BigVector<Wanted> wanted = wanted_by(*plan);
  const std::vector<ShardRange> in_place = place(*plan, wanted);
  cut_extents(*plan, wanted, in_place);
  count_costs(*plan, resolved.staging_bytes);

  plan->begin_ns = stopwatch.begin_ns();
  plan->cpu_seconds = stopwatch.cpu_seconds();
  plan->seconds = stopwatch.seconds();
  assert(check_plan(*plan).empty());
  return Access::plan(plan);
}

Plan make_plan(const Checkpoint& checkpoint, const Request& request, const Options& options) {
  return make_plan(Access::catalogue(checkpoint), request, options);
}

Plan::Plan(std::shared_ptr<const PlanData> data) noexcept : data_(std::move(data)) {}

const PlanCosts& Plan::costs() const noexcept {
  return data_->costs;
}

std::vector<Tensor> Plan::tensors() const {
  std::vector<Tensor> tensors;
  tensors.reserve(data_->placements.size());
  for (const Placement& placement : data_->placements) {
    const TensorInfo& info = data_->catalogue->tensors[placement.tensor];
    Tensor& tensor = tensors.emplace_back();
    tensor.name = info.name;
    tensor.shape = info.shape;
    tensor.bytes = placement.bytes;
    tensor.dtype = placement.dtype;
    tensor.device = data_->devices[placement.device];
  }
  return tensors;
}

double Plan::seconds() const noexcept {
  return data_->seconds;
}

double Plan::cpu_seconds() const noexcept {
  return data_->cpu_seconds;
}

}  // namespace sluice
