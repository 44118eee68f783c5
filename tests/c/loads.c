/* Loads: every byte arrives where it was asked for; waits, looks, statistics, traces; how loads end. */
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scene.h"

/* An engine of small slabs. */
static const sluice_options options = {.size = sizeof options, .slab_bytes = 64 << 10, .trace = 1};

static scene begin_model(sluice_device device) {
  return begin_scene(&options, "model.safetensors", device);
}

/* That a tensor of the load, which has arrived, has the bytes of `from` from `begin` on. */
static void check_bytes(const sluice_load* load, const char* name, sluice_device device, const test_tensor* from,
                        uint64_t begin, uint64_t bytes, uint32_t version) {
  sluice_error* error = NULL;
  uint8_t* const got = malloc(bytes + 1);
  CHECK(got != NULL);
  const uint64_t half = bytes / 2;
  OK(sluice_load_read_back(load, sluice_str(name), device, 0, got, half, &error));
  OK(sluice_load_read_back(load, sluice_str(name), device, half, got + half, bytes - half, &error));
  for (uint64_t i = 0; i < bytes; ++i) CHECK(got[i] == test_byte(from, begin + i, version));
  free(got);
}

static void check_model(const sluice_load* load, sluice_device device, uint32_t version) {
  for (size_t i = 0; i < model_count; ++i) {
    check_bytes(load, model[i].name, device, &model[i], 0, test_bytes(&model[i]), version);
  }
}

static void test_arrivals(const sluice_load* load, sluice_device device) {
  sluice_error* error = NULL;
  sluice_tensor tensor = SLUICE_INIT(sluice_tensor);
  int arrival = 7, found = 7;
  uint64_t index = 0;
  size_t met = 0;
  for (;; ++index) {
    OK(sluice_load_arrival(load, index, index % 2 == 0 ? SLUICE_FOREVER : INT64_MAX, &tensor, &arrival, &error));
    if (arrival == SLUICE_NO_MORE) break;
    CHECK(arrival == SLUICE_ARRIVED);
    for (size_t i = 0; i < model_count; ++i) {
      if (!check_is(tensor.name, model[i].name)) continue;
      ++met;
      CHECK(tensor.dtype == model[i].dtype && tensor.bytes == test_bytes(&model[i]));
      CHECK(tensor.device.kind == device.kind && tensor.device.ordinal == device.ordinal);
      CHECK((tensor.data != NULL) == (tensor.bytes != 0));
    }
  }
  CHECK(index == model_count && met == model_count);
  OK(sluice_load_arrival(load, UINT64_MAX, 0, NULL, &arrival, &error));
  CHECK(arrival == SLUICE_NO_MORE);

  OK(sluice_load_find(load, sluice_str("bias"), sluice_any(), &tensor, &found, &error));
  CHECK(found == 1);
  CHECK_STRING(tensor.name, "bias");
  OK(sluice_load_find(load, sluice_str("bias"), device, NULL, &found, &error));
  CHECK(found == 1);
  OK(sluice_load_find(load, sluice_str("bias"), sluice_cuda(7), &tensor, &found, &error));
  CHECK(found == 0);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_find(load, sluice_str("bias"), device, &tensor, NULL, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_arrival(load, 0, 0, &tensor, NULL, &error));
  tensor.size = 5;
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_arrival(load, 0, 0, &tensor, &arrival, &error));
}

static void test_waits(const sluice_load* load, sluice_device device) {
  sluice_error* error = NULL;
  sluice_tensor tensor = SLUICE_INIT(sluice_tensor);
  int done = 7;
  OK(sluice_load_wait_tensor(load, sluice_str("scale"), device, SLUICE_FOREVER, &tensor, NULL, &error));
  CHECK(tensor.bytes == 4 && tensor.dimensions == 0);
  OK(sluice_load_wait_tensor(load, sluice_str("scale"), sluice_any(), INT64_MAX, NULL, &done, &error));
  CHECK(done == 1);
  OK(sluice_load_wait_group(load, 0, device, SLUICE_FOREVER, NULL, &error));
  OK(sluice_load_wait_group(load, 0, device, 0, &done, &error));
  CHECK(done == 1);
  OK(sluice_load_wait(load, SLUICE_FOREVER, NULL, &error));
  OK(sluice_load_wait(load, 0, &done, &error));
  CHECK(done == 1);
  OK(sluice_load_ready(load, 0, device, &done, &error));
  CHECK(done == 1);
  OK(sluice_load_ready(load, 1, device, &done, &error));
  CHECK(done == 0);

  FAILS(SLUICE_TENSOR_NOT_FOUND,
        sluice_load_wait_tensor(load, sluice_str("nobody"), device, 0, &tensor, &done, &error));
  FAILS(SLUICE_TENSOR_NOT_FOUND, sluice_load_wait_group(load, 1, device, SLUICE_FOREVER, NULL, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_wait_group(load, 0, sluice_any(), SLUICE_FOREVER, NULL, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_wait(load, 0, NULL, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_wait(NULL, 0, &done, &error));
  tensor.size = 0;
  FAILS(SLUICE_INVALID_ARGUMENT,
        sluice_load_wait_tensor(load, sluice_str("scale"), device, SLUICE_FOREVER, &tensor, NULL, &error));
}

static void test_read_back(const sluice_load* load, sluice_device device) {
  sluice_error* error = NULL;
  uint8_t byte = 0;
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_read_back(load, sluice_str("bias"), device, 20, &byte, 1, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_read_back(load, sluice_str("bias"), device, 1, &byte, UINT64_MAX, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_read_back(load, sluice_str("nobody"), device, 0, &byte, 1, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_read_back(load, sluice_str("bias"), device, 0, NULL, 1, &error));
}

static void test_statistics(const sluice_load* load) {
  sluice_error* error = NULL;
  sluice_progress progress = SLUICE_INIT(sluice_progress);
  sluice_stats stats = SLUICE_INIT(sluice_stats);
  OK(sluice_load_progress(load, &progress, &error));
  CHECK(progress.is_finished == 1 && progress.bytes_read == progress.bytes_total);
  CHECK(progress.tensors_ready == model_count && progress.tensors_total == model_count);
  OK(sluice_load_statistics(load, &stats, &error));
  CHECK(stats.bytes > 0 && stats.delivered_bytes > 0 && stats.seconds > 0 && stats.extents > 4);
  CHECK(stats.reader == SLUICE_READER_URING || stats.reader == SLUICE_READER_PREAD);
  for (uint32_t i = 0; i < stats.fallbacks; ++i) {
    sluice_string what, reason, again, same;
    OK(sluice_load_fallback(load, i, &what, &reason, &error));
    OK(sluice_load_fallback(load, i, &again, &same, &error));
    CHECK(what.bytes > 0 && reason.bytes > 0 && what.data == again.data && reason.data == same.data);
  }
  sluice_string what, reason;
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_fallback(load, stats.fallbacks, &what, &reason, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_statistics(NULL, &stats, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_progress(load, NULL, &error));
}

static void test_trace(const sluice_load* load) {
  sluice_error* error = NULL;
  sluice_trace* trace = NULL;
  sluice_span span = SLUICE_INIT(sluice_span);
  sluice_string name;
  uint32_t rows = 0;
  uint64_t spans = 0, dropped = 0, read_bytes = 0;
  OK(sluice_load_trace(load, &trace, &error));
  OK(sluice_trace_count(trace, &rows, &spans, &dropped, &error));
  OK(sluice_trace_count(trace, NULL, NULL, NULL, &error));
  CHECK(rows > 0 && spans > 4 && dropped == 0);
  OK(sluice_trace_row(trace, 0, &name, &error));
  CHECK(name.bytes > 0);
  for (uint64_t i = 0; i < spans; ++i) {
    OK(sluice_trace_span(trace, i, &span, &error));
    CHECK(span.begin_ns <= span.end_ns && span.row < rows && sluice_span_name(span.kind) != NULL);
    if (span.kind == SLUICE_SPAN_READ) read_bytes += span.bytes;
  }
  CHECK(read_bytes > 0);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_trace_span(trace, spans, &span, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_trace_row(trace, rows, &name, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_trace_count(NULL, &rows, &spans, &dropped, &error));
  sluice_trace_free(trace);
  sluice_trace_free(NULL);
}

static void test_descriptor(const sluice_load* load) {
  sluice_error* error = NULL;
  int descriptor = -1;
  uint64_t count = 0;
  OK(sluice_load_descriptor(load, &descriptor, &error));
  CHECK(descriptor >= 0);
  struct pollfd arrivals = {descriptor, POLLIN, 0};
  CHECK(poll(&arrivals, 1, -1) == 1); /* the load has ended */
  CHECK(read(descriptor, &count, sizeof count) == sizeof count && count > 0);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_descriptor(load, NULL, &error));
}

static void* wait_for_all(void* load) {
  sluice_error* error = NULL;
  OK(sluice_load_wait(load, SLUICE_FOREVER, NULL, &error));
  return NULL;
}

void test_loads(sluice_device device) {
  sluice_error* error = NULL;
  scene s = begin_model(device);
  sluice_options known = SLUICE_INIT(sluice_options);
  pthread_t waiter;
  OK(sluice_engine_options(s.engine, &known, &error));
  CHECK(known.slab_bytes == options.slab_bytes && known.trace == 1 && known.queue_depth == 32);
  OK(sluice_engine_prepare(s.engine, &device, 1, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_engine_prepare(s.engine, NULL, 1, &error));
  OK(sluice_request_add(s.request, sluice_str("*"), NULL, &error));
  start_scene(&s);
  CHECK(pthread_create(&waiter, NULL, wait_for_all, s.load) == 0);
  test_arrivals(s.load, device);
  CHECK(pthread_join(waiter, NULL) == 0);
  test_waits(s.load, device);
  check_model(s.load, device, 0);
  test_read_back(s.load, device);
  test_statistics(s.load);
  test_trace(s.load);
  test_descriptor(s.load);
  OK(sluice_load_prefer(s.load, 0, &error));
  OK(sluice_load_cancel(s.load, &error)); /* it has ended: nothing happens */
  OK(sluice_load_wait(s.load, SLUICE_FOREVER, NULL, &error));

  /* A load needs neither engine nor plan nor checkpoint for what it has. */
  sluice_engine_free(s.engine);
  sluice_plan_free(s.plan);
  sluice_checkpoint_free(s.checkpoint);
  s.engine = NULL;
  s.plan = NULL;
  s.checkpoint = NULL;
  check_model(s.load, device, 0);
  end_scene(&s);
}

/* The halves of a matrix side by side, cast; and what a stream waits for. */
void test_streams(sluice_device device) {
  sluice_error* error = NULL;
  scene s = begin_model(device);
  sluice_rule* rule = NULL;
  sluice_destination* destination = NULL;
  sluice_slice *left = NULL, *rows = NULL;
  sluice_tensor tensor = SLUICE_INIT(sluice_tensor);
  const uint64_t shape[] = {96, 32};
  const test_tensor* const norm = model_tensor("norm.weight");
  OK(sluice_request_destination(s.request, sluice_str("d"), shape, 2, SLUICE_F32, device, &destination, &error));
  OK(sluice_destination_zero(destination, &error));
  OK(sluice_destination_group(destination, 2, &error));
  OK(sluice_request_add(s.request, sluice_str("norm.weight"), &rule, &error));
  OK(sluice_rule_cast(rule, SLUICE_F32, &error));
  for (uint32_t half = 0; half < 2; ++half) {
    OK(sluice_slice_new(&left, &error));
    OK(sluice_slice_new(&rows, &error));
    OK(sluice_slice_part(left, 0, half, 2, &error));
    OK(sluice_slice_part(left, 1, half, 2, &error));
    OK(sluice_slice_take(rows, 0, half * 32, 32, &error));
    OK(sluice_rule_to(rule, destination, left, rows, &error));
    sluice_slice_free(left);
    sluice_slice_free(rows);
  }
  start_scene(&s);
  const int64_t ever = SLUICE_FOREVER;
  int done = 0;
  OK(sluice_load_wait_on(s.load, NULL, sluice_str("d"), sluice_any(), ever, &tensor, NULL, &error));
  CHECK(tensor.bytes == sizeof(float) * 96 * 32 && tensor.group == 2);
  OK(sluice_load_wait_on(s.load, NULL, sluice_str("d"), device, ever, NULL, &done, &error));
  CHECK(done == 1);
  done = 0;
  OK(sluice_load_wait_on_group(s.load, NULL, 2, device, ever, &done, &error));
  CHECK(done == 1);
  FAILS(SLUICE_TENSOR_NOT_FOUND, sluice_load_wait_on_group(s.load, NULL, 0, device, ever, NULL, &error));
  FAILS(SLUICE_TENSOR_NOT_FOUND, sluice_load_wait_on(s.load, NULL, sluice_str("q"), device, ever, NULL, NULL, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_wait_on(NULL, NULL, sluice_str("d"), device, ever, NULL, NULL, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_wait_on(s.load, NULL, sluice_str("d"), device, 0, NULL, NULL, &error));
  OK(sluice_load_wait(s.load, SLUICE_FOREVER, NULL, &error));

  uint32_t got[96 * 32];
  OK(sluice_load_read_back(s.load, sluice_str("d"), device, 0, got, sizeof got, &error));
  for (uint64_t row = 0; row < 96; ++row) {
    for (uint64_t column = 0; column < 32; ++column) {
      const uint64_t at = 2 * (row * 64 + column + (row < 32 ? 0 : 32));
      const uint32_t low = test_byte(norm, at, 0), high = test_byte(norm, at + 1, 0);
      const uint32_t wanted = row < 64 ? high << 24 | low << 16 : 0;
      /* A NaN becomes the one of sluice's casts. */
      CHECK(got[row * 32 + column] == wanted || (wanted & 0x7f800000u) == 0x7f800000u);
    }
  }
  end_scene(&s);
}

/* Another version of the model, into the memory of the first. */
void test_reloads(sluice_device device) {
  sluice_error* error = NULL;
  scene s = begin_model(device);
  sluice_checkpoint* second = NULL;
  sluice_plan* next = NULL;
  sluice_load* reload = NULL;
  sluice_memory arenas[2] = {SLUICE_INIT(sluice_memory), SLUICE_INIT(sluice_memory)};
  sluice_after after = SLUICE_INIT(sluice_after);
  sluice_start_options how = SLUICE_INIT(sluice_start_options);
  size_t count = 0;
  write_shard("second.safetensors", model, model_count, 1, NULL);
  OK(sluice_checkpoint_open(sluice_str(check_path("second.safetensors")), 0, &second, &error));
  OK(sluice_request_add(s.request, sluice_str("*"), NULL, &error));
  start_scene(&s);
  OK(sluice_make_plan_like(second, s.plan, &next, &error));
  OK(sluice_load_wait(s.load, SLUICE_FOREVER, NULL, &error));
  OK(sluice_load_arenas(s.load, NULL, 0, &count, &error));
  CHECK(count == 1);
  OK(sluice_load_arenas(s.load, arenas, 2, &count, &error));
  CHECK(arenas[0].device.kind == device.kind && arenas[0].data != NULL && arenas[0].bytes > 0);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_load_arenas(s.load, NULL, 1, &count, &error));

  after.device = device;
  how.arenas = arenas;
  how.arena_count = 1;
  how.after = &after;
  how.after_count = device.kind == SLUICE_CUDA ? 1 : 0;
  OK(sluice_engine_start(s.engine, next, &how, &reload, &error));
  OK(sluice_load_wait(reload, SLUICE_FOREVER, NULL, &error));
  check_model(reload, device, 1);
  check_model(s.load, device, 1);
  sluice_load_free(reload);

  arenas[0].bytes = 1;
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_engine_start(s.engine, next, &how, &reload, &error));
  CHECK(reload == NULL);
  how.arena_count = 2;
  arenas[1].size = 40;
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_engine_start(s.engine, next, &how, &reload, &error));
  how.arena_count = 65;
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_engine_start(s.engine, next, &how, &reload, &error));
  how.arena_count = 1;
  how.arenas = NULL;
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_engine_start(s.engine, next, &how, &reload, &error));
  how.arena_count = 0;
  how.flags = 1;
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_engine_start(s.engine, next, &how, &reload, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_engine_start(NULL, next, NULL, &reload, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_engine_start(s.engine, NULL, NULL, &reload, &error));
  sluice_plan_free(next);
  sluice_checkpoint_free(second);
  end_scene(&s);
}

static void check_end_of(sluice_load* load, sluice_device device, int code) {
  sluice_error* error = NULL;
  sluice_progress progress = SLUICE_INIT(sluice_progress);
  sluice_tensor tensor = SLUICE_INIT(sluice_tensor);
  int done = 7;
  FAILS(code, sluice_load_wait(load, SLUICE_FOREVER, NULL, &error));
  FAILS(code, sluice_load_wait(load, INT64_MAX, &done, &error));
  FAILS(code, sluice_load_wait_tensor(load, sluice_str("packed"), device, 0, &tensor, &done, &error));
  FAILS(code, sluice_load_wait_group(load, 0, device, 0, &done, &error));
  FAILS(code, sluice_load_arrival(load, model_count, 0, &tensor, &done, &error));
  CHECK(done == 7);
  OK(sluice_load_progress(load, &progress, &error));
  CHECK(progress.is_finished == 1);
}

/* A load that is cancelled, one whose engine goes, one whose file changes, one whose device is not there, and one that
   is given up. */
void test_ends(sluice_device device) {
  sluice_error* error = NULL;
  scene s = begin_model(device);
  OK(sluice_request_add(s.request, sluice_str("*"), NULL, &error));
  OK(sluice_make_plan(s.checkpoint, s.request, &options, &s.plan, &error));
  OK(sluice_engine_start(s.engine, s.plan, NULL, &s.load, &error));
  sluice_load_free(s.load); /* whatever it is doing */

  write_shard("model.safetensors", model, model_count, 0, NULL); /* another file, though of the same bytes */
  OK(sluice_engine_start(s.engine, s.plan, NULL, &s.load, &error));
  check_end_of(s.load, device, SLUICE_FILE_CHANGED);
  sluice_load_free(s.load);

  /* Behind a load that runs for as long as it is let, two more wait for the disk. */
  sluice_load *cancelled = NULL, *left = NULL;
  OK(sluice_engine_start(s.engine, s.plan, NULL, &cancelled, &error));
  OK(sluice_load_cancel(cancelled, &error));
  OK(sluice_load_cancel(cancelled, &error));
  OK(sluice_engine_start(s.engine, s.plan, NULL, &left, &error));
  sluice_engine_free(s.engine);
  s.engine = NULL;
  sluice_error_free(error);
  error = NULL;
  /* Either its own end or the other came first. */
  const int code = sluice_load_wait(cancelled, SLUICE_FOREVER, NULL, &error);
  CHECK(code == SLUICE_CANCELLED || code == SLUICE_FILE_CHANGED);
  sluice_error_free(error);
  error = NULL;
  const int other = sluice_load_wait(left, SLUICE_FOREVER, NULL, &error);
  CHECK(other == SLUICE_CANCELLED || other == SLUICE_FILE_CHANGED);
  sluice_error_free(error);
  error = NULL;
  sluice_load_free(cancelled);
  s.load = left;
  end_scene(&s);

  /* No machine has so many. */
  s = begin_model(sluice_cuda(1000));
  OK(sluice_request_add(s.request, sluice_str("*"), NULL, &error));
  start_scene(&s);
  check_end_of(s.load, sluice_cuda(1000), SLUICE_DEVICE_UNAVAILABLE);
  end_scene(&s);
  sluice_load_free(NULL);
  sluice_engine_free(NULL);
}
