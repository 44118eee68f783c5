#include "scene.h"

scene begin_scene(const sluice_options* options, const char* shard, sluice_device device) {
  sluice_error* error = NULL;
  scene s = {options, NULL, NULL, NULL, NULL, NULL};
  OK(sluice_engine_new(options, &s.engine, &error));
  OK(sluice_checkpoint_open(sluice_str(check_path(shard)), 0, &s.checkpoint, &error));
  OK(sluice_request_new(&s.request, &error));
  OK(sluice_request_set_devices(s.request, &device, 1, &error));
  return s;
}

void start_scene(scene* s) {
  sluice_error* error = NULL;
  OK(sluice_make_plan(s->checkpoint, s->request, s->options, &s->plan, &error));
  OK(sluice_engine_start(s->engine, s->plan, NULL, &s->load, &error));
}

void end_scene(scene* s) {
  sluice_load_free(s->load);
  sluice_engine_free(s->engine);
  sluice_plan_free(s->plan);
  sluice_request_free(s->request);
  sluice_checkpoint_free(s->checkpoint);
}
