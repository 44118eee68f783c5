// Plans of sluice.h.
#include "sluice/plan.hpp"

#include <memory>
#include <mutex>
#include <vector>

#include "loader/c/border.hpp"
#include "loader/c/handles.hpp"
#include "loader/c/values.hpp"
#include "sluice/sluice.h"

using namespace sluice::border;

namespace {

const std::vector<sluice::Tensor>& tensors_of(const sluice_plan& plan) {
  const std::lock_guard lock(plan.mutex);
  if (!plan.tensors) plan.tensors = plan.plan.tensors();
  return *plan.tensors;
}

const std::vector<const sluice::TensorInfo*>& left_out_of(const sluice_plan& plan) {
  const std::lock_guard lock(plan.mutex);
  if (!plan.left_out) plan.left_out = plan.plan.left_out();
  return *plan.left_out;
}

}  // namespace

int sluice_make_plan(const sluice_checkpoint* checkpoint, const sluice_request* request, const sluice_options* options,
                     sluice_plan** plan, sluice_error** error) {
  return make(plan, "plan", error, [&] {
    return std::make_unique<sluice_plan>(sluice::make_plan(required(checkpoint, "checkpoint").checkpoint,
                                                           required(request, "request").request, options_of(options)));
  });
}
int sluice_make_plan_like(const sluice_checkpoint* checkpoint, const sluice_plan* like, sluice_plan** plan,
                          sluice_error** error) {
  return make(plan, "plan", error, [&] {
    return std::make_unique<sluice_plan>(
        sluice::make_plan(required(checkpoint, "checkpoint").checkpoint, required(like, "like").plan));
  });
}
void sluice_plan_free(sluice_plan* plan) {
  delete plan;
}

int sluice_plan_costs(const sluice_plan* plan, sluice_costs* costs, sluice_error** error) {
  return run(error, [&] {
    const sluice::Plan& made = required(plan, "plan").plan;
    const sluice::PlanCosts& counted = made.costs();
    auto known = SLUICE_INIT(sluice_costs);
    known.devices = static_cast<std::uint32_t>(counted.devices.size());
    known.groups = static_cast<std::uint32_t>(counted.groups.size());
    for (const auto& device : counted.devices) known.tensors += device.tensors;
    known.read_bytes = counted.read_bytes;
    known.delivered_bytes = counted.delivered_bytes;
    known.extents = counted.extents;
    known.in_place_extents = counted.in_place_extents;
    known.deliveries = counted.deliveries;
    known.copies = counted.copies;
    known.launches = counted.launches;
    known.staging_bytes = counted.staging_bytes;
    known.run_bytes_min = counted.run_bytes_min;
    known.seconds = made.seconds();
    known.cpu_seconds = made.cpu_seconds();
    give(known, costs, "costs");
  });
}
int sluice_plan_device(const sluice_plan* plan, std::uint32_t index, sluice_device_costs* costs, sluice_error** error) {
  return run(error, [&] {
    const auto& devices = required(plan, "plan").plan.costs().devices;
    check_index(index, devices.size(), "index");
    const sluice::PlanCosts::OnDevice& counted = devices[index];
    auto known = SLUICE_INIT(sluice_device_costs);
    known.device = device_of(counted.device);
    known.tensors = counted.tensors;
    known.arena_bytes = counted.arena_bytes;
    known.arena_peak_bytes = counted.arena_peak_bytes;
    known.caller_bytes = counted.caller_bytes;
    known.link_bytes = counted.link_bytes;
    known.scratch_bytes = counted.scratch_bytes;
    give(known, costs, "costs");
  });
}
int sluice_plan_group(const sluice_plan* plan, std::uint32_t index, sluice_group_costs* costs, sluice_error** error) {
  return run(error, [&] {
    const auto& groups = required(plan, "plan").plan.costs().groups;
    check_index(index, groups.size(), "index");
    const sluice::PlanCosts::OfGroup& counted = groups[index];
    auto known = SLUICE_INIT(sluice_group_costs);
    known.group = counted.group.number;
    known.tensors = counted.tensors;
    known.delivered_bytes = counted.delivered_bytes;
    known.read_bytes_until = counted.read_bytes_until;
    give(known, costs, "costs");
  });
}
int sluice_plan_tensor(const sluice_plan* plan, std::uint64_t index, sluice_tensor* tensor, sluice_error** error) {
  return run(error, [&] {
    const auto& tensors = tensors_of(required(plan, "plan"));
    check_index(index, tensors.size(), "index");
    give(tensor_of(tensors[index]), tensor, "tensor");
  });
}
int sluice_plan_left_out_count(const sluice_plan* plan, std::uint64_t* count, sluice_error** error) {
  return run(error, [&] {
    const auto& left_out = left_out_of(required(plan, "plan"));
    required(count, "count") = left_out.size();
  });
}
int sluice_plan_left_out(const sluice_plan* plan, std::uint64_t index, sluice_tensor_info* info, sluice_error** error) {
  return run(error, [&] {
    const auto& left_out = left_out_of(required(plan, "plan"));
    check_index(index, left_out.size(), "index");
    give(info_of(*left_out[index]), info, "info");
  });
}

int sluice_check(const sluice_checkpoint* checkpoint, const sluice_request* request, sluice_findings** findings,
                 sluice_error** error) {
  return make(findings, "findings", error, [&] {
    auto found = std::make_unique<sluice_findings>();
    for (const sluice::Error& refusal :
         sluice::check(required(checkpoint, "checkpoint").checkpoint, required(request, "request").request)) {
      found->errors.push_back({refusal});
    }
    return found;
  });
}
std::size_t sluice_findings_count(const sluice_findings* findings) {
  return findings == nullptr ? 0 : findings->errors.size();
}
const sluice_error* sluice_findings_at(const sluice_findings* findings, std::size_t index) {
  return index < sluice_findings_count(findings) ? &findings->errors[index] : nullptr;
}
void sluice_findings_free(sluice_findings* findings) {
  delete findings;
}
