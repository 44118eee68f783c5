/* Memory beyond its load, and memory within a budget: tensors that are kept, handed over by DLPack, dropped; and waits
   whose time is up, which a load that has used its budget up makes certain. */
#include <dlfcn.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scene.h"

/* As a consumer has them: DLPack's own, of version 1.1. */
typedef struct dl_tensor {
  void* data;
  int32_t device_type, device_id, ndim;
  uint8_t code, bits;
  uint16_t lanes;
  int64_t *shape, *strides;
  uint64_t byte_offset;
} dl_tensor;
typedef struct DLManagedTensorVersioned {
  uint32_t major, minor;
  void* context;
  void (*deleter)(struct DLManagedTensorVersioned*);
  uint64_t flags;
  dl_tensor tensor;
} versioned;
typedef struct DLManagedTensor {
  dl_tensor tensor;
  void* context;
  void (*deleter)(struct DLManagedTensor*);
} unversioned;

/* A load of all of a shard. */
static scene begin_load(const char* shard, sluice_device device, uint64_t budget_bytes, uint64_t piece_bytes) {
  sluice_error* error = NULL;
  scene s = begin_scene(NULL, shard, device);
  OK(sluice_request_add(s.request, sluice_str("*"), NULL, &error));
  OK(sluice_request_set_budget(s.request, budget_bytes, piece_bytes, &error));
  start_scene(&s);
  return s;
}

/* Copies from a device without the library, which has no load any more. */
static void copy_back(sluice_device device, void* target, const void* data, size_t bytes) {
  if (device.kind == SLUICE_HOST) {
    memcpy(target, data, bytes);
    return;
  }
  void* const driver = dlopen("libcuda.so.1", RTLD_NOW);
  CHECK(driver != NULL);
  int (*retain)(void**, int), (*push)(void*), (*copy)(void*, uint64_t, size_t), (*pop)(void**), (*release)(int);
  *(void**)&retain = dlsym(driver, "cuDevicePrimaryCtxRetain");
  *(void**)&push = dlsym(driver, "cuCtxPushCurrent_v2");
  *(void**)&copy = dlsym(driver, "cuMemcpyDtoH_v2");
  *(void**)&pop = dlsym(driver, "cuCtxPopCurrent_v2");
  *(void**)&release = dlsym(driver, "cuDevicePrimaryCtxRelease_v2");
  void* context = NULL;
  CHECK(retain(&context, device.ordinal) == 0 && push(context) == 0);
  CHECK(copy(target, (uint64_t)(uintptr_t)data, bytes) == 0);
  CHECK(pop(&context) == 0 && release(device.ordinal) == 0);
  CHECK(dlclose(driver) == 0);
}

static void check_memory(sluice_device device, const void* data, const test_tensor* wanted) {
  const size_t bytes = (size_t)test_bytes(wanted);
  uint8_t* const got = malloc(bytes);
  CHECK(got != NULL);
  copy_back(device, got, data, bytes);
  check_content(wanted, got, bytes);
  free(got);
}

static void check_handed(const dl_tensor* tensor, sluice_device device) {
  CHECK(tensor->device_type == (device.kind == SLUICE_CUDA ? 2 : 1) && tensor->device_id == device.ordinal);
  CHECK(tensor->code == 4 && tensor->bits == 16 && tensor->lanes == 1 && tensor->ndim == 2); /* bfloat16 */
  CHECK(tensor->shape[0] == 1024 && tensor->shape[1] == 256);
  CHECK(tensor->strides[0] == 256 && tensor->strides[1] == 1 && tensor->byte_offset == 0);
  check_memory(device, tensor->data, model_tensor("embed.weight"));
}

static void test_refusals(const sluice_load* load, sluice_device device) {
  sluice_error* error = NULL;
  sluice_kept* kept = (sluice_kept*)&error;
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_keep(load, sluice_str("nobody"), device, &kept, &error));
  CHECK(kept == NULL);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_keep_on(load, NULL, sluice_str("nobody"), device, &kept, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_keep(load, sluice_str("bias"), device, NULL, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_keep(NULL, sluice_str("bias"), device, &kept, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_drop(load, sluice_str("nobody"), device, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_drop_on(load, NULL, sluice_str("nobody"), device, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_drop(NULL, sluice_str("bias"), device, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_kept_copy(NULL, &kept, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_kept_tensor(NULL, NULL, &error));
  versioned* managed = (versioned*)&error;
  unversioned* older = (unversioned*)&error;
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_kept_dlpack(NULL, &managed, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_kept_dlpack_unversioned(NULL, &older, &error));
  CHECK(managed == NULL && older == NULL);
  sluice_kept_free(NULL);
}

/* Tensors that outlive everything that they came from, in every form in which they are held. */
void test_kept(sluice_device device) {
  sluice_error* error = NULL;
  scene s = begin_load("model.safetensors", device, 0, 0);
  sluice_kept *kept = NULL, *copy = NULL, *packed = NULL;
  sluice_tensor tensor = SLUICE_INIT(sluice_tensor);
  versioned* managed = NULL;
  unversioned* older = NULL;
  int found = 7;
  OK(sluice_load_wait(s.load, SLUICE_FOREVER, NULL, &error));
  test_refusals(s.load, device);
  OK(sluice_load_keep(s.load, sluice_str("embed.weight"), device, &kept, &error));
  OK(sluice_load_keep_on(s.load, NULL, sluice_str("packed"), sluice_any(), &packed, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_kept_tensor(kept, NULL, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_kept_copy(kept, NULL, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_kept_dlpack(kept, NULL, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_kept_dlpack_unversioned(kept, NULL, &error));

  /* Without a budget what is dropped is only not found any more. */
  OK(sluice_load_drop(s.load, sluice_str("embed.weight"), device, &error));
  OK(sluice_load_find(s.load, sluice_str("embed.weight"), device, NULL, &found, &error));
  CHECK(found == 0);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_drop(s.load, sluice_str("embed.weight"), device, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_keep(s.load, sluice_str("embed.weight"), device, &copy, &error));
  FAILS(SLUICE_INVALID_ARGUMENT,
        sluice_load_wait_tensor(s.load, sluice_str("embed.weight"), device, SLUICE_FOREVER, &tensor, NULL, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_read_back(s.load, sluice_str("embed.weight"), device, 0, NULL, 0, &error));
  OK(sluice_load_drop_on(s.load, NULL, sluice_str("bias"), sluice_any(), &error));
  end_scene(&s);

  OK(sluice_kept_copy(kept, &copy, &error));
  sluice_kept_free(kept);
  OK(sluice_kept_tensor(copy, &tensor, &error));
  CHECK_STRING(tensor.name, "embed.weight");
  CHECK(tensor.dtype == SLUICE_BF16 && tensor.dimensions == 2 && tensor.shape[0] == 1024 && tensor.shape[1] == 256);
  check_memory(device, tensor.data, model_tensor("embed.weight"));
  OK(sluice_kept_dlpack(copy, &managed, &error));
  OK(sluice_kept_dlpack_unversioned(copy, &older, &error));
  sluice_kept_free(copy);
  CHECK(managed->major == 1 && managed->minor == 1 && managed->flags == 0 && managed->tensor.data == tensor.data);
  check_handed(&managed->tensor, device);
  managed->deleter(managed);
  check_handed(&older->tensor, device);
  older->deleter(older);

  OK(sluice_kept_tensor(packed, &tensor, &error));
  check_memory(device, tensor.data, model_tensor("packed"));
  OK(sluice_kept_dlpack(packed, &managed, &error));
  CHECK(managed->tensor.lanes == 2 && managed->tensor.shape[0] == 6 && managed->tensor.shape[1] == 4);
  managed->deleter(managed);
  sluice_kept_free(packed);
}

enum { PARTS = 12, PIECE_BYTES = 2 << 20, BUDGET_BYTES = 4 * PIECE_BYTES };
static char part_names[PARTS][8];
static test_tensor parts[PARTS];

/* Twelve MiB, for a budget of eight. */
static void write_parts(void) {
  for (int i = 0; i < PARTS; ++i) {
    snprintf(part_names[i], sizeof part_names[i], "p%d", i);
    const test_tensor part = {part_names[i], SLUICE_F32, 1, {1 << 18}};
    parts[i] = part;
  }
  write_shard("parts.safetensors", parts, PARTS, 0, NULL);
}

/* Nothing is dropped: what is behind the budget does not come. */
static void test_timeouts(const sluice_load* load, sluice_device device) {
  sluice_error* error = NULL;
  sluice_tensor tensor = SLUICE_INIT(sluice_tensor);
  const sluice_string last = sluice_str(part_names[PARTS - 1]);
  const int64_t timeouts[] = {0, 1000};
  for (size_t i = 0; i < sizeof timeouts / sizeof timeouts[0]; ++i) {
    int done = 7, arrival = 7, found = 7;
    OK(sluice_load_wait(load, timeouts[i], &done, &error));
    CHECK(done == 0);
    done = 7;
    OK(sluice_load_wait_tensor(load, last, device, timeouts[i], &tensor, &done, &error));
    CHECK(done == 0);
    done = 7;
    OK(sluice_load_wait_tensor(load, last, sluice_any(), timeouts[i], NULL, &done, &error));
    CHECK(done == 0);
    done = 7;
    OK(sluice_load_wait_group(load, 0, device, timeouts[i], &done, &error));
    CHECK(done == 0 && tensor.bytes == 0);
    done = 7;
    OK(sluice_load_wait_on(load, NULL, last, device, timeouts[i], &tensor, &done, &error));
    CHECK(done == 0 && tensor.bytes == 0);
    done = 7;
    OK(sluice_load_wait_on_group(load, NULL, 0, device, timeouts[i], &done, &error));
    CHECK(done == 0);
    OK(sluice_load_arrival(load, PARTS - 1, timeouts[i], &tensor, &arrival, &error));
    CHECK(arrival == SLUICE_TIME_UP && tensor.bytes == 0);
    OK(sluice_load_find(load, last, device, &tensor, &found, &error));
    CHECK(found == 0);
  }
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_wait_tensor(load, last, device, 0, &tensor, NULL, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_wait_group(load, 0, device, 0, NULL, &error));
}

/* The load says when all that the budget has room for is there. */
static void test_held_up(const sluice_load* load) {
  sluice_error* error = NULL;
  sluice_progress progress = SLUICE_INIT(sluice_progress);
  int descriptor = -1;
  OK(sluice_load_descriptor(load, &descriptor, &error));
  OK(sluice_load_progress(load, &progress, &error));
  while (!progress.is_held_up) {
    struct pollfd event = {descriptor, POLLIN, 0};
    uint64_t count = 0;
    CHECK(!progress.is_finished);
    CHECK(poll(&event, 1, 60000) == 1 && read(descriptor, &count, sizeof count) == sizeof count);
    OK(sluice_load_progress(load, &progress, &error));
  }
  CHECK(progress.tensors_ready > 0 && progress.tensors_ready < PARTS);
}

static void test_costs(const scene* s) {
  sluice_error* error = NULL;
  sluice_request_info info = SLUICE_INIT(sluice_request_info);
  sluice_device_costs costs = SLUICE_INIT(sluice_device_costs);
  sluice_plan* plan = NULL;
  OK(sluice_request_describe(s->request, &info, &error));
  CHECK(info.budget_bytes == BUDGET_BYTES && info.piece_bytes == PIECE_BYTES);
  OK(sluice_plan_device(s->plan, 0, &costs, &error));
  CHECK(costs.arena_bytes >= PARTS << 20 && costs.arena_peak_bytes > 0 && costs.arena_peak_bytes <= BUDGET_BYTES);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_make_plan_like(s->checkpoint, s->plan, &plan, &error));
  OK(sluice_request_set_budget(s->request, BUDGET_BYTES, BUDGET_BYTES, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_make_plan(s->checkpoint, s->request, NULL, &plan, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_request_set_budget(NULL, 0, 0, &error));
}

/* A checkpoint through a budget that is smaller, each tensor looked at and dropped as it comes; one is kept. */
void test_budget(sluice_device device) {
  sluice_error* error = NULL;
  write_parts();
  scene s = begin_load("parts.safetensors", device, BUDGET_BYTES, PIECE_BYTES);
  sluice_tensor tensor = SLUICE_INIT(sluice_tensor);
  sluice_stats stats = SLUICE_INIT(sluice_stats);
  sluice_kept* kept = NULL;
  uint8_t* const got = malloc(1 << 20);
  int arrival = 0;
  CHECK(got != NULL);
  test_costs(&s);
  OK(sluice_load_arrival(s.load, 0, SLUICE_FOREVER, &tensor, &arrival, &error));
  tensor.bytes = 0;
  test_timeouts(s.load, device);
  test_held_up(s.load);
  for (uint64_t i = 0; i < PARTS; ++i) {
    OK(sluice_load_arrival(s.load, i, SLUICE_FOREVER, &tensor, &arrival, &error));
    CHECK(arrival == SLUICE_ARRIVED && tensor.bytes == 1 << 20);
    OK(sluice_load_read_back(s.load, tensor.name, tensor.device, 0, got, tensor.bytes, &error));
    size_t part = 0;
    while (!check_is(tensor.name, parts[part].name)) ++part;
    check_content(&parts[part], got, tensor.bytes);
    if (part == 0) OK(sluice_load_keep(s.load, tensor.name, device, &kept, &error));
    if (i % 2 == 0) {
      OK(sluice_load_drop(s.load, tensor.name, device, &error));
    } else {
      OK(sluice_load_drop_on(s.load, NULL, tensor.name, device, &error));
    }
  }
  OK(sluice_load_arrival(s.load, PARTS, SLUICE_FOREVER, &tensor, &arrival, &error));
  CHECK(arrival == SLUICE_NO_MORE);
  OK(sluice_load_wait(s.load, SLUICE_FOREVER, NULL, &error));
  OK(sluice_load_statistics(s.load, &stats, &error));
  CHECK(stats.peak_arena_bytes > 0 && stats.peak_arena_bytes <= BUDGET_BYTES);
  end_scene(&s);
  free(got);

  OK(sluice_kept_tensor(kept, &tensor, &error));
  check_memory(device, tensor.data, &parts[0]);
  sluice_kept_free(kept);
}
