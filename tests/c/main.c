/* Goal: sluice.h does in C what the C++ headers say, and refuses what is wrong.
   Method: a program of C11 and POSIX alone, which makes its own checkpoints, knows every byte of them, and calls every
   function; `api_test host` or, where libcuda.so.1 can be found, `api_test cuda`. Exit status 77: skipped. */
#include <stdio.h>
#include <string.h>

#include "check.h"

/* Whether loads can go there in this build. */
static int is_usable(sluice_device device) {
  sluice_error* error = NULL;
  sluice_checkpoint* checkpoint = NULL;
  sluice_request* request = NULL;
  sluice_plan* plan = NULL;
  sluice_engine* engine = NULL;
  sluice_load* load = NULL;
  write_shard("probe.safetensors", model, 1, 0, NULL);
  OK(sluice_checkpoint_open(sluice_str(check_path("probe.safetensors")), 0, &checkpoint, &error));
  OK(sluice_request_new(&request, &error));
  OK(sluice_request_set_devices(request, &device, 1, &error));
  OK(sluice_request_add(request, sluice_str("*"), NULL, &error));
  OK(sluice_make_plan(checkpoint, request, NULL, &plan, &error));
  OK(sluice_engine_new(NULL, &engine, &error));
  OK(sluice_engine_start(engine, plan, NULL, &load, &error));
  const int code = sluice_load_wait(load, SLUICE_FOREVER, NULL, &error);
  if (code != SLUICE_OK) printf("skipped: %s\n", sluice_error_text(error));
  sluice_error_free(error);
  sluice_load_free(load);
  sluice_engine_free(engine);
  sluice_plan_free(plan);
  sluice_request_free(request);
  sluice_checkpoint_free(checkpoint);
  return code == SLUICE_OK;
}

static void test_device(sluice_device device) {
  test_loads(device);
  test_streams(device);
  test_reloads(device);
  test_kept(device);
  test_budget(device);
  test_ends(device);
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  int status = 0;
  check_begin();
  write_shard("model.safetensors", model, model_count, 0, "{\"format\":\"pt\",\"author\":\"nobody\"}");
  if (strcmp(argv[1], "cuda") == 0) {
    if (is_usable(sluice_cuda(0))) {
      test_device(sluice_cuda(0));
    } else {
      status = 77;
    }
  } else {
    test_values();
    test_checkpoints();
    test_requests();
    test_plans();
    test_host_memory();
    test_device(sluice_host());
  }
  return status;
}
