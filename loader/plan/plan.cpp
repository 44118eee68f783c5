#include "loader/plan/plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "loader/base/limits.hpp"
#include "loader/base/stopwatch.hpp"
#include "loader/base/tracer.hpp"
#include "loader/plan/access.hpp"
#include "loader/plan/arena_pieces.hpp"
#include "loader/plan/bindings.hpp"
#include "loader/plan/cut_extents.hpp"
#include "loader/plan/findings.hpp"
#include "loader/plan/kernel_table.hpp"
#include "loader/plan/placement.hpp"
#include "loader/plan/retarget.hpp"
#include "loader/plan/routing.hpp"
#include "loader/plan/selection.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

// A sparse file of exabytes would otherwise take all memory.
void check_size(const PlanData& plan) {
  if (plan.routed_bytes / plan.slab_bytes < limits::extents_max) return;
  // Routes of one tensor may overlap: what they all want together counts once.
  std::uint64_t wanted = 0;
  std::uint64_t end = 0;
  std::uint32_t shard = 0;
  for (const Route& route : plan.routes) {
    if (route.shard != shard) end = 0;
    shard = route.shard;
    if (route.end > end) wanted += route.end - std::max(end, route.begin);
    end = std::max(end, route.end);
  }
  if (wanted / plan.slab_bytes < limits::extents_max) return;
  throw Error(ErrorCode::limit_exceeded,
              fmt::format("the request wants more than {} slabs of {} bytes", limits::extents_max, plan.slab_bytes),
              {plan.catalogue->path.string(), {}, {}}, "raise slab_bytes");
}

// How much is read until each group is there.
void count_reads(PlanData& plan) {
  PlanCosts& costs = plan.costs;
  for (const Extent& extent : plan.extents) {
    costs.read_bytes += extent.bytes;
    if (costs.groups.size() == 1) continue;
    for (const Delivery& delivery : plan.deliveries_of(extent)) {
      costs.groups[plan.placements[delivery.placement].group].read_bytes_until = costs.read_bytes;
    }
  }
  if (costs.groups.size() == 1) costs.groups.front().read_bytes_until = costs.read_bytes;
}

void count_costs(PlanData& plan) {
  PlanCosts& costs = plan.costs;
  costs.extents = plan.extents.size();
  costs.deliveries = plan.deliveries.size();
  count_reads(plan);
  for (const Extent& extent : plan.extents) {
    if (extent.in_place) ++costs.in_place_extents;
    for (const Part& part : plan.parts_of(extent)) {
      costs.copies += part.copies;
      costs.launches += part.launches;
      costs.devices[part.device].link_bytes += part.link_bytes;
      if (part.goes_to_scratch()) costs.devices[part.device].link_bytes += part.delivery_count * table_entry_bytes;
      if (part.goes_to_scratch() && plan.devices[part.device].kind == DeviceId::Kind::cuda) {
        costs.devices[part.device].scratch_bytes = scratch_slabs * plan.slab_bytes;
      }
    }
  }
  const std::uint64_t staged_extents = costs.extents - costs.in_place_extents;
  costs.staging_bytes = plan.slab_bytes * std::min(plan.staging_bytes / plan.slab_bytes, staged_extents);
}

void finish(PlanData& plan, const Stopwatch& stopwatch) {
  count_costs(plan);
  plan.begin_ns = stopwatch.begin_ns();
  plan.cpu_seconds = stopwatch.cpu_seconds();
  plan.seconds = stopwatch.seconds();
  assert(check_plan(plan).empty());
}

// What of a plan the request alone decides.
Bindings begin_plan(PlanData& plan, const Request& request, Findings& findings) {
  plan.alignment_bytes = request.alignment_bytes;
  plan.budget_bytes = request.budget_bytes;
  plan.piece_bytes = piece_bytes_of(request);
  plan.strict = request.strict;
  const Selection selection = select(*plan.catalogue, request, findings);
  plan.devices = selection.devices;
  plan.costs.devices.resize(plan.devices.size());
  for (std::size_t i = 0; i < plan.devices.size(); ++i) plan.costs.devices[i].device = plan.devices[i];
  return make_routes(plan, selection, request, findings);
}

}  // namespace

Plan make_plan(std::shared_ptr<const Catalogue> catalogue, const Request& request, const Options& options) {
  const Stopwatch stopwatch;
  const Tracer::Range range({.what = Span::What::plan});
  const Options resolved = resolve(options);
  const auto plan = std::make_shared<PlanData>();
  plan->catalogue = std::move(catalogue);
  plan->slab_bytes = resolved.slab_bytes;
  plan->staging_bytes = resolved.staging_bytes;

  Findings findings;
  auto bindings = std::make_shared<const Bindings>(begin_plan(*plan, request, findings));
  findings.throw_first();
  check_size(*plan);
  cut_extents(*plan, place(*plan));
  settle_pieces(*plan);
  finish(*plan, stopwatch);
  return Access::plan(plan, std::move(bindings));
}

Plan make_plan(const Checkpoint& checkpoint, const Plan& like) {
  const Stopwatch stopwatch;
  const Tracer::Range range({.what = Span::What::plan});
  if (Access::data(like)->budget_bytes != 0) {
    throw Error(ErrorCode::invalid_argument, "the plan has a budget: its arenas do not stay to be loaded into again",
                {}, "make a plan of this checkpoint by a request");
  }
  const std::shared_ptr<PlanData> plan = retarget(*Access::data(like), Access::catalogue(checkpoint));
  check_size(*plan);
  // Where tensors lie was decided for another file: direct reads straight into place would rarely fit.
  cut_extents(*plan, {});
  finish(*plan, stopwatch);
  return Access::plan(plan, Access::bindings(like));
}

std::vector<Error> check(const std::shared_ptr<const Catalogue>& catalogue, const Request& request) {
  PlanData plan;
  plan.catalogue = catalogue;
  Findings findings;
  begin_plan(plan, request, findings);
  return std::move(findings).take();
}

Plan make_plan(const Checkpoint& checkpoint, const Request& request, const Options& options) {
  return make_plan(Access::catalogue(checkpoint), request, options);
}

std::vector<Error> check(const Checkpoint& checkpoint, const Request& request) {
  return check(Access::catalogue(checkpoint), request);
}

Plan::Plan(std::shared_ptr<const PlanData> data, std::shared_ptr<const Bindings> bindings) noexcept
    : data_(std::move(data)), bindings_(std::move(bindings)) {}

const PlanCosts& Plan::costs() const noexcept {
  return data_->costs;
}

std::vector<Tensor> Plan::tensors() const {
  std::vector<Tensor> tensors;
  tensors.reserve(data_->placements.size());
  for (const Placement& placement : data_->placements) {
    Tensor& tensor = tensors.emplace_back();
    tensor.name = data_->name_of(placement);
    tensor.shape = data_->shape_of(placement);
    tensor.strides = data_->strides_of(placement);
    tensor.bytes = placement.bytes;
    tensor.dtype = placement.dtype;
    tensor.device = data_->devices[placement.device];
    tensor.group = data_->costs.groups[placement.group].group;
  }
  return tensors;
}

std::vector<const TensorInfo*> Plan::left_out() const {
  std::vector<const TensorInfo*> tensors;
  tensors.reserve(data_->left_out.size());
  for (const std::uint32_t tensor : data_->left_out) tensors.push_back(&data_->catalogue->tensors[tensor]);
  return tensors;
}

double Plan::seconds() const noexcept {
  return data_->seconds;
}

double Plan::cpu_seconds() const noexcept {
  return data_->cpu_seconds;
}

}  // namespace sluice
