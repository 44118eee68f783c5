/* Writes what a load delivers to standard output, each tensor as a line "name dtype bytes" and so many bytes behind it:
   contents PATH DEVICE [DTYPE] */
#include <stdio.h>
#include <stdlib.h>

#include "sluice/sluice.h"

/* The status of a call; what went wrong is said. */
static int said(int code, sluice_error* error) {
  if (code != SLUICE_OK) fprintf(stderr, "%s\n", sluice_error_text(error));
  sluice_error_free(error);
  return code;
}

static int write_tensors(const sluice_load* load, sluice_error** error) {
  sluice_tensor tensor = SLUICE_INIT(sluice_tensor);
  int arrival = 0;
  for (uint64_t i = 0;; ++i) {
    int code = sluice_load_arrival(load, i, SLUICE_FOREVER, &tensor, &arrival, error);
    if (code != SLUICE_OK || arrival == SLUICE_NO_MORE) return code;
    uint8_t* const bytes = malloc(tensor.bytes + 1);
    if (bytes == NULL) return SLUICE_OUT_OF_MEMORY;
    code = sluice_load_read_back(load, tensor.name, tensor.device, 0, bytes, tensor.bytes, error);
    if (code == SLUICE_OK) {
      printf("%.*s %s %llu\n", (int)tensor.name.bytes, tensor.name.data, sluice_dtype_name(tensor.dtype),
             (unsigned long long)tensor.bytes);
      if (fwrite(bytes, 1, tensor.bytes, stdout) != tensor.bytes) code = SLUICE_IO;
    }
    free(bytes);
    if (code != SLUICE_OK) return code;
  }
}

static int make_request(const char* device_name, const char* dtype_name, sluice_request** request,
                        sluice_error** error) {
  sluice_device device = sluice_host();
  size_t count = 0;
  uint32_t dtype = 0;
  sluice_rule* rule = NULL;
  int code = sluice_parse_devices(sluice_str(device_name), &device, 1, &count, error);
  if (code == SLUICE_OK) code = sluice_request_new(request, error);
  if (code == SLUICE_OK) code = sluice_request_set_devices(*request, &device, 1, error);
  if (code == SLUICE_OK) code = sluice_request_add(*request, sluice_str("*"), &rule, error);
  if (code != SLUICE_OK || dtype_name == NULL) return code;
  code = sluice_dtype_parse(sluice_str(dtype_name), &dtype, error);
  return code == SLUICE_OK ? sluice_rule_cast(rule, dtype, error) : code;
}

int main(int argc, char** argv) {
  sluice_error* error = NULL;
  sluice_engine* engine = NULL;
  sluice_checkpoint* checkpoint = NULL;
  sluice_request* request = NULL;
  sluice_plan* plan = NULL;
  sluice_load* load = NULL;
  if (argc < 3 || argc > 4) return 2;
  int code = sluice_engine_new(NULL, &engine, &error);
  if (code == SLUICE_OK) code = sluice_checkpoint_open(sluice_str(argv[1]), 0, &checkpoint, &error);
  if (code == SLUICE_OK) code = make_request(argv[2], argc == 4 ? argv[3] : NULL, &request, &error);
  if (code == SLUICE_OK) code = sluice_make_plan(checkpoint, request, NULL, &plan, &error);
  if (code == SLUICE_OK) code = sluice_engine_start(engine, plan, NULL, &load, &error);
  if (code == SLUICE_OK) code = write_tensors(load, &error);
  code = said(code, error);
  sluice_load_free(load);
  sluice_plan_free(plan);
  sluice_request_free(request);
  sluice_checkpoint_free(checkpoint);
  sluice_engine_free(engine);
  return code == SLUICE_OK && fflush(stdout) == 0 ? 0 : 1;
}
