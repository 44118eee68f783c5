#include "loader/plan/plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "loader/base/alignment.hpp"
#include "loader/base/limits.hpp"
#include "loader/base/stopwatch.hpp"
#include "loader/base/tracer.hpp"
#include "loader/plan/access.hpp"
#include "loader/plan/cut_extents.hpp"
#include "loader/plan/placement.hpp"
#include "loader/plan/selection.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

// Makes the placements, without their places, and says what they want of the shards.
BigVector<Wanted> want(PlanData& plan, const Selection& selection) {
  const BigVector<TensorInfo>& tensors = plan.catalogue->tensors;
  std::uint64_t tensor_count = 0;
  std::uint64_t placement_count = 0;
  std::uint64_t wanted_bytes = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (selection.rule_of[i] == Selection::none) continue;
    ++tensor_count;
    placement_count += selection.rules[selection.rule_of[i]].count;
    wanted_bytes += tensors[i].bytes;
    if (wanted_bytes / plan.slab_bytes >= limits::extents_max) {
      throw Error(ErrorCode::limit_exceeded,
                  fmt::format("the request wants more than {} slabs of {} bytes", limits::extents_max, plan.slab_bytes),
                  {plan.catalogue->path.string(), {}, {}}, "raise slab_bytes");
    }
  }

  BigVector<Wanted> wanted;
  wanted.reserve(tensor_count);
  plan.placements.reserve(placement_count);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (selection.rule_of[i] == Selection::none) continue;
    const TensorInfo& tensor = tensors[i];
    const Selection::RuleTargets& rule = selection.rules[selection.rule_of[i]];
    const bool cast = rule.cast && *rule.cast != tensor.dtype && is_castable(tensor.dtype);
    Placement placement;
    placement.tensor = static_cast<std::uint32_t>(i);
    placement.dtype = cast ? *rule.cast : tensor.dtype;
    placement.bytes = delivered_bytes(tensor.bytes, tensor.dtype, placement.dtype);
    if (tensor.bytes != 0) {
      Wanted& range = wanted.emplace_back();
      range.begin = tensor.offset;
      range.end = tensor.offset + tensor.bytes;
      range.shard = tensor.shard;
      range.first_placement = static_cast<std::uint32_t>(plan.placements.size());
      range.placement_count = rule.count;
      range.unit_bytes = cast ? bits(tensor.dtype) / 8 : 1;
    }
    for (const std::uint8_t device : selection.targets_of(rule)) {
      placement.device = device;
      plan.placements.push_back(placement);
      ++plan.costs.devices[device].tensors;
      plan.costs.delivered_bytes += placement.bytes;
    }
  }
  return wanted;
}

void count_costs(PlanData& plan, std::uint64_t staging_bytes) {
  PlanCosts& costs = plan.costs;
  costs.extents = plan.extents.size();
  costs.deliveries = plan.deliveries.size();
  for (const Extent& extent : plan.extents) {
    costs.read_bytes += extent.bytes;
    if (extent.in_place) {
      ++costs.in_place_extents;
      continue;
    }
    for (std::size_t device = 0; device < plan.devices.size(); ++device) {
      const ExtentCost cost = cost_of(plan, extent, plan.deliveries_of(extent, device));
      costs.copies += cost.copies;
      costs.launches += cost.launches;
      if (cost.launches != 0 && plan.devices[device].kind == DeviceId::Kind::cuda) {
        costs.devices[device].scratch_bytes = scratch_slabs * plan.slab_bytes;
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

  const BigVector<Wanted> wanted = want(*plan, selection);
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

ExtentCost cost_of(const PlanData& plan, const Extent& extent, std::span<const Delivery> deliveries) {
  if (extent.in_place || deliveries.empty()) return {};
  struct Counter {
    ExtentCost cost;
    void operator()(const Copy&) { ++cost.copies; }
    void operator()(const Delivery&) { ++cost.launches; }
  } counter;
  coalesce(plan, deliveries, counter);
  const DeviceId device = plan.devices[plan.placements[deliveries.front().placement].device];
  const bool few = counter.cost.launches == 0 && counter.cost.copies <= limits::copies_per_extent_max;
  if (device.kind == DeviceId::Kind::host || few) return counter.cost;
  return {to_scratch(plan, extent, deliveries).in_one_copy() ? 1u : 2u, 1};
}

ToScratch to_scratch(const PlanData& plan, const Extent& extent, std::span<const Delivery> deliveries) noexcept {
  constexpr std::uint64_t alignment = delivery_table_alignment_bytes;
  const auto before = static_cast<std::uint64_t>(deliveries.data() - plan.deliveries_of(extent).data());
  ToScratch part;
  part.table_begin = align_up(extent.bytes, alignment) + before * table_entry_bytes;
  // The kernel reads whole vectors.
  part.begin = align_down(deliveries.front().source_offset, alignment);
  for (const Delivery& delivery : deliveries) {
    const std::uint64_t rows_bytes = std::uint64_t{delivery.rows - 1} * delivery.source_stride + delivery.run_bytes;
    part.end = std::max(part.end, align_up(delivery.source_offset + rows_bytes, alignment));
  }
  return part;
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
