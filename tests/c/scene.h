/* A load and what it is made of: an engine, a checkpoint, a request for it, a plan. */
#ifndef TESTS_C_SCENE_H_
#define TESTS_C_SCENE_H_

#include "check.h"

typedef struct scene {
  const sluice_options* options; /* the engine's and the plan's; NULL: the library's own */
  sluice_engine* engine;
  sluice_checkpoint* checkpoint;
  sluice_request* request;
  sluice_plan* plan;
  sluice_load* load;
} scene;

/* A request without rules, for a device, of a shard in the test's folder. */
scene begin_scene(const sluice_options* options, const char* shard, sluice_device device);
/* Plans what has been asked for, and starts to load it. */
void start_scene(scene* s);
/* Frees what is there. */
void end_scene(scene* s);

#endif
