/* What the tests in C are made of: checks that name their place, a folder of their own, small checkpoints. C11 and
   POSIX. A function that calls the library declares: sluice_error* error = NULL; */
#ifndef TESTS_C_CHECK_H_
#define TESTS_C_CHECK_H_

#include <stddef.h>
#include <stdint.h>

#include "sluice/sluice.h"

/* Ends the process with status 1, naming the place. */
void check_failed(const char* what, const char* file, int line);
void check_ok(int code, sluice_error** error, const char* what, const char* file, int line);
/* That a call failed with this code, and said so. */
void check_code(int wanted, int code, sluice_error** error, const char* what, const char* file, int line);

#define CHECK(condition) ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))
#define OK(...) check_ok((__VA_ARGS__), &error, #__VA_ARGS__, __FILE__, __LINE__)
#define FAILS(wanted, ...) check_code(wanted, (__VA_ARGS__), &error, #__VA_ARGS__, __FILE__, __LINE__)
#define CHECK_STRING(string, wanted) CHECK(check_is((string), (wanted)))

int check_is(sluice_string string, const char* wanted);

/* A name in this process's own folder, which check_begin() makes and which goes at its end. Valid until the next call
   but seven. */
void check_begin(void);
const char* check_path(const char* name);
void check_write(const char* name, const void* data, size_t bytes);

enum { SHAPE_MAX = 3 };

typedef struct test_tensor {
  const char* name;
  uint32_t dtype;
  uint32_t dimensions;
  uint64_t shape[SHAPE_MAX];
} test_tensor;

uint64_t test_bytes(const test_tensor* tensor);
/* Byte `index` of a tensor: noise that depends on its name and on `version`. */
uint8_t test_byte(const test_tensor* tensor, uint64_t index, uint32_t version);
/* That `got` is `bytes` of them, from 0 on. */
void check_content(const test_tensor* tensor, const uint8_t* got, uint64_t bytes);
/* Writes a shard of tensors, back to back. `metadata` is JSON, or NULL. */
void write_shard(const char* name, const test_tensor* tensors, size_t count, uint32_t version, const char* metadata);

/* A model of some tensors, and the one of that name. */
extern const test_tensor model[];
extern const size_t model_count;
const test_tensor* model_tensor(const char* name);

/* The tests. `device`: where loads go. */
void test_values(void);
void test_checkpoints(void);
void test_requests(void);
void test_plans(void);
void test_loads(sluice_device device);
void test_streams(sluice_device device);
void test_reloads(sluice_device device);
void test_ends(sluice_device device);
void test_kept(sluice_device device);
void test_budget(sluice_device device);
void test_host_memory(void);

#endif
