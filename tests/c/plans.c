/* Plans: their costs, their tensors, and each way in which a request can be wrong. */
#include <string.h>

#include "check.h"

static void test_costs(const sluice_checkpoint* checkpoint) {
  sluice_error* error = NULL;
  sluice_request* request = NULL;
  sluice_rule* rule = NULL;
  sluice_plan* plan = NULL;
  sluice_costs costs = SLUICE_INIT(sluice_costs);
  sluice_device_costs on_device = SLUICE_INIT(sluice_device_costs);
  sluice_group_costs group = SLUICE_INIT(sluice_group_costs);
  sluice_tensor tensor = SLUICE_INIT(sluice_tensor);
  sluice_tensor_info info = SLUICE_INIT(sluice_tensor_info);
  sluice_options options = SLUICE_INIT(sluice_options);
  uint64_t count = 0;
  options.slab_bytes = 64 << 10;

  OK(sluice_request_new(&request, &error));
  OK(sluice_request_add(request, sluice_str("layers.*"), &rule, &error));
  OK(sluice_rule_cast(rule, SLUICE_BF16, &error));
  OK(sluice_rule_group(rule, 4, &error));
  OK(sluice_request_add(request, sluice_str("embed.weight"), NULL, &error));
  OK(sluice_make_plan(checkpoint, request, &options, &plan, &error));
  sluice_request_free(request);

  OK(sluice_plan_costs(plan, &costs, &error));
  CHECK(costs.devices == 1 && costs.groups == 2 && costs.tensors == 3 && costs.extents >= 8);
  CHECK(costs.delivered_bytes == 1024 * 256 * 2 + 2 * 32 * 16 * 2 && costs.read_bytes >= 1024 * 256 * 2);
  CHECK(costs.seconds > 0);
  OK(sluice_plan_device(plan, 0, &on_device, &error));
  CHECK(on_device.device.kind == SLUICE_HOST && on_device.tensors == 3 && on_device.caller_bytes == 0);
  CHECK(on_device.arena_bytes >= costs.delivered_bytes);
  OK(sluice_plan_group(plan, 1, &group, &error));
  CHECK(group.group == 4 && group.tensors == 2 && group.read_bytes_until == costs.read_bytes);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_plan_device(plan, 1, &on_device, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_plan_group(plan, 2, &group, &error));

  OK(sluice_plan_tensor(plan, 1, &tensor, &error));
  CHECK_STRING(tensor.name, "layers.0.q");
  CHECK(tensor.dtype == SLUICE_BF16 && tensor.bytes == 1024 && tensor.group == 4 && tensor.data == NULL);
  CHECK(tensor.dimensions == 2 && tensor.shape[0] == 32 && tensor.strides == NULL);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_plan_tensor(plan, 3, &tensor, &error));
  OK(sluice_plan_left_out_count(plan, &count, &error));
  CHECK(count == model_count - 3);
  OK(sluice_plan_left_out(plan, 1, &info, &error));
  CHECK_STRING(info.name, "bias");
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_plan_left_out(plan, count, &info, &error));

  FAILS(SLUICE_INVALID_ARGUMENT, sluice_plan_costs(NULL, &costs, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_plan_costs(plan, NULL, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_plan_tensor(NULL, 0, &tensor, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_plan_left_out_count(plan, NULL, &error));
  sluice_plan_free(plan);
  sluice_plan_free(NULL);
}

static void test_refusals(const sluice_checkpoint* checkpoint) {
  sluice_error* error = NULL;
  sluice_request* request = NULL;
  sluice_destination* destination = NULL;
  sluice_rule* rule = NULL;
  sluice_slice* slice = NULL;
  sluice_findings* findings = NULL;
  sluice_plan* plan = NULL;
  const uint64_t shape[] = {64, 16};
  OK(sluice_request_new(&request, &error));
  OK(sluice_request_add(request, sluice_str("bias"), NULL, &error));
  OK(sluice_check(checkpoint, request, &findings, &error));
  CHECK(sluice_findings_count(findings) == 0 && sluice_findings_at(findings, 0) == NULL);
  sluice_findings_free(findings);

  OK(sluice_request_add(request, sluice_str("nobody"), NULL, &error));
  FAILS(SLUICE_TENSOR_NOT_FOUND, sluice_make_plan(checkpoint, request, NULL, &plan, &error));
  CHECK(plan == NULL);
  OK(sluice_request_destination(request, sluice_str("q"), shape, 2, SLUICE_F32, sluice_host(), &destination, &error));
  OK(sluice_slice_new(&slice, &error));
  OK(sluice_slice_take(slice, 0, 0, 32, &error));
  OK(sluice_request_add(request, sluice_str("layers.0.q"), &rule, &error));
  OK(sluice_rule_to(rule, destination, NULL, slice, &error));
  OK(sluice_check(checkpoint, request, &findings, &error));
  CHECK(sluice_findings_count(findings) == 2);
  CHECK(sluice_error_code(sluice_findings_at(findings, 0)) == SLUICE_TENSOR_NOT_FOUND);
  CHECK(sluice_error_code(sluice_findings_at(findings, 1)) == SLUICE_INCOMPLETE);
  CHECK(sluice_findings_at(findings, 2) == NULL);
  sluice_findings_free(findings);
  sluice_findings_free(NULL);
  sluice_slice_free(slice);
  sluice_request_free(request);

  OK(sluice_request_new(&request, &error));
  OK(sluice_request_add(request, sluice_str("bias"), NULL, &error));
  OK(sluice_request_set_strict(request, 1, &error));
  FAILS(SLUICE_INCOMPLETE, sluice_make_plan(checkpoint, request, NULL, &plan, &error));
  OK(sluice_request_set_alignment(request, 3, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_make_plan(checkpoint, request, NULL, &plan, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_make_plan(NULL, request, NULL, &plan, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_make_plan(checkpoint, NULL, NULL, &plan, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_make_plan_like(checkpoint, NULL, &plan, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_check(checkpoint, NULL, &findings, &error));
  sluice_request_free(request);
}

void test_plans(void) {
  sluice_error* error = NULL;
  sluice_checkpoint* checkpoint = NULL;
  OK(sluice_checkpoint_open(sluice_str(check_path("model.safetensors")), 0, &checkpoint, &error));
  test_costs(checkpoint);
  test_refusals(checkpoint);
  sluice_checkpoint_free(checkpoint);
}
