/* Destinations in memory of the caller's: pitch, padding, what stays; and the null device, which keeps nothing. */
#include <string.h>

#include "check.h"

static const sluice_options options = {.size = sizeof options};

/* Columns of a matrix into rows with a pitch, between bytes that stay as they are. */
static void test_pitch(sluice_engine* engine, const sluice_checkpoint* checkpoint) {
  sluice_error* error = NULL;
  sluice_request* request = NULL;
  sluice_rule* rule = NULL;
  sluice_destination* destination = NULL;
  sluice_slice *columns = NULL, *rows = NULL;
  sluice_plan* plan = NULL;
  sluice_load* load = NULL;
  sluice_tensor tensor = SLUICE_INIT(sluice_tensor);
  sluice_device_costs costs = SLUICE_INIT(sluice_device_costs);
  const test_tensor* const from = model_tensor("layers.0.q");
  enum { ROWS = 34, COLUMNS = 8, PITCH = 12 };
  const uint64_t shape[] = {ROWS, COLUMNS}, strides[] = {PITCH, 1};
  static uint8_t memory[ROWS * PITCH * 4];
  memset(memory, 0x5a, sizeof memory);

  OK(sluice_request_new(&request, &error));
  OK(sluice_request_destination(request, sluice_str("d"), shape, 2, SLUICE_F32, sluice_host(), &destination, &error));
  OK(sluice_destination_memory(destination, memory, sizeof memory, &error));
  OK(sluice_destination_strides(destination, strides, 2, &error));
  OK(sluice_destination_keep(destination, &error));
  OK(sluice_slice_new(&columns, &error));
  OK(sluice_slice_part(columns, 1, 1, 2, &error));
  OK(sluice_slice_new(&rows, &error));
  OK(sluice_slice_take(rows, 0, 0, 32, &error));
  OK(sluice_request_add(request, sluice_str("layers.0.q"), &rule, &error));
  OK(sluice_rule_to(rule, destination, columns, rows, &error));
  OK(sluice_make_plan(checkpoint, request, &options, &plan, &error));
  OK(sluice_plan_device(plan, 0, &costs, &error));
  CHECK(costs.arena_bytes == 0 && costs.caller_bytes > 0);
  OK(sluice_engine_start(engine, plan, NULL, &load, &error));
  OK(sluice_load_wait_tensor(load, sluice_str("d"), sluice_host(), SLUICE_FOREVER, &tensor, NULL, &error));
  CHECK(tensor.data == memory && tensor.strides != NULL && tensor.strides[0] == PITCH && tensor.strides[1] == 1);
  sluice_load_free(load);
  for (uint64_t row = 0; row < ROWS; ++row) {
    for (uint64_t at = 0; at < (uint64_t)PITCH * 4; ++at) {
      const int is_written = row < 32 && at < (uint64_t)COLUMNS * 4;
      CHECK(memory[row * PITCH * 4 + at] == (is_written ? test_byte(from, row * 64 + 32 + at, 0) : 0x5a));
    }
  }
  sluice_slice_free(columns);
  sluice_slice_free(rows);
  sluice_plan_free(plan);
  sluice_request_free(request);
}

static void test_null(sluice_engine* engine, const sluice_checkpoint* checkpoint) {
  sluice_error* error = NULL;
  sluice_request* request = NULL;
  sluice_plan* plan = NULL;
  sluice_load* load = NULL;
  sluice_tensor tensor = SLUICE_INIT(sluice_tensor);
  const sluice_device device = sluice_null();
  uint8_t byte = 0;
  OK(sluice_request_new(&request, &error));
  OK(sluice_request_set_devices(request, &device, 1, &error));
  OK(sluice_request_add(request, sluice_str("*"), NULL, &error));
  OK(sluice_make_plan(checkpoint, request, &options, &plan, &error));
  OK(sluice_engine_start(engine, plan, NULL, &load, &error));
  OK(sluice_load_wait_tensor(load, sluice_str("bias"), device, SLUICE_FOREVER, &tensor, NULL, &error));
  CHECK(tensor.data == NULL && tensor.bytes == 20);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_read_back(load, sluice_str("bias"), device, 0, &byte, 1, &error));
  sluice_load_free(load);
  sluice_plan_free(plan);
  sluice_request_free(request);
}

static void test_refusals(const sluice_checkpoint* checkpoint) {
  sluice_error* error = NULL;
  sluice_engine* engine = (sluice_engine*)&error;
  sluice_request* request = NULL;
  sluice_plan* plan = NULL;
  sluice_load* load = NULL;
  sluice_options wrong = SLUICE_INIT(sluice_options);
  wrong.threads = 1000;
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_engine_new(&wrong, &engine, &error));
  CHECK(engine == NULL);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_engine_new(NULL, NULL, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_engine_options(NULL, &wrong, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_engine_prepare(NULL, NULL, 0, &error));

  /* A plan for larger slabs than the engine's. */
  sluice_options small = SLUICE_INIT(sluice_options);
  small.slab_bytes = 64 << 10;
  OK(sluice_engine_new(&small, &engine, &error));
  OK(sluice_request_new(&request, &error));
  OK(sluice_request_add(request, sluice_str("*"), NULL, &error));
  OK(sluice_make_plan(checkpoint, request, NULL, &plan, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_engine_start(engine, plan, NULL, &load, &error));
  CHECK(load == NULL);
  sluice_engine_free(engine);
  sluice_plan_free(plan);
  sluice_request_free(request);
}

void test_host_memory(void) {
  sluice_error* error = NULL;
  sluice_engine* engine = NULL;
  sluice_checkpoint* checkpoint = NULL;
  OK(sluice_engine_new(NULL, &engine, &error));
  OK(sluice_checkpoint_open(sluice_str(check_path("model.safetensors")), 0, &checkpoint, &error));
  test_pitch(engine, checkpoint);
  test_null(engine, checkpoint);
  test_refusals(checkpoint);
  sluice_checkpoint_free(checkpoint);
  sluice_engine_free(engine);
}
