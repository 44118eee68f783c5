/* A user of the installed library in C: writes a checkpoint of one tensor into the working folder, loads it, compares.
 */
#include <sluice/sluice.h>
#include <stdio.h>

int main(void) {
  static const char header[] = "{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
  const float values[] = {1.5f, -2.0f};
  const uint64_t header_bytes = sizeof header - 1;
  FILE* const file = fopen("c_consumer.safetensors", "wb");
  if (file == NULL) return 1;
  fwrite(&header_bytes, sizeof header_bytes, 1, file);
  fwrite(header, 1, sizeof header - 1, file);
  fwrite(values, 1, sizeof values, file);
  fclose(file);

  sluice_engine* engine = NULL;
  sluice_checkpoint* checkpoint = NULL;
  sluice_request* request = NULL;
  sluice_plan* plan = NULL;
  sluice_load* load = NULL;
  sluice_error* error = NULL;
  sluice_tensor x = SLUICE_INIT(sluice_tensor);
  const int failed = sluice_engine_new(NULL, &engine, &error) ||
                     sluice_checkpoint_open(sluice_str("c_consumer.safetensors"), 0, &checkpoint, &error) ||
                     sluice_request_new(&request, &error) ||
                     sluice_request_add(request, sluice_str("*"), NULL, &error) ||
                     sluice_make_plan(checkpoint, request, NULL, &plan, &error) ||
                     sluice_engine_start(engine, plan, NULL, &load, &error) ||
                     sluice_load_wait_tensor(load, sluice_str("x"), sluice_any(), SLUICE_FOREVER, &x, NULL, &error);
  const int same = !failed && x.bytes == sizeof values && memcmp(x.data, values, sizeof values) == 0;
  printf("tensor %s %s\n", same ? "right" : "WRONG", sluice_error_text(error));
  sluice_error_free(error);
  sluice_load_free(load);
  sluice_plan_free(plan);
  sluice_request_free(request);
  sluice_checkpoint_free(checkpoint);
  sluice_engine_free(engine);
  return same && sluice_version() == SLUICE_VERSION ? 0 : 1;
}
