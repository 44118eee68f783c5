#include "check.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/sluice-c-test-XXXXXX";

void check_failed(const char* what, const char* file, int line) {
  fprintf(stderr, "%s:%d: %s\n", file, line, what);
  exit(1);
}

void check_ok(int code, sluice_error** error, const char* what, const char* file, int line) {
  if (code == SLUICE_OK && *error == NULL) return;
  fprintf(stderr, "%d: %s\n", code, sluice_error_text(*error));
  check_failed(what, file, line);
}

void check_code(int wanted, int code, sluice_error** error, const char* what, const char* file, int line) {
  if (code != wanted || sluice_error_code(*error) != wanted || sluice_error_message(*error).bytes == 0) {
    fprintf(stderr, "%d (%s): %s\n", code, sluice_code_name(code), sluice_error_text(*error));
    check_failed(what, file, line);
  }
  sluice_error_free(*error);
  *error = NULL;
}

int check_is(sluice_string string, const char* wanted) {
  return string.bytes == strlen(wanted) && memcmp(string.data, wanted, string.bytes) == 0;
}

static void remove_folder(void) {
  DIR* const all = opendir(folder);
  const struct dirent* entry;
  while (all != NULL && (entry = readdir(all)) != NULL) {
    if (entry->d_name[0] != '.') unlink(check_path(entry->d_name));
  }
  closedir(all);
  rmdir(folder);
}

void check_begin(void) {
  CHECK(mkdtemp(folder) != NULL);
  CHECK(atexit(remove_folder) == 0);
}

const char* check_path(const char* name) {
  static char paths[8][256];
  static unsigned next = 0;
  char* const path = paths[next++ % 8];
  CHECK((size_t)snprintf(path, sizeof paths[0], "%s/%s", folder, name) < sizeof paths[0]);
  return path;
}

void check_write(const char* name, const void* data, size_t bytes) {
  FILE* const file = fopen(check_path(name), "wb");
  CHECK(file != NULL);
  CHECK(fwrite(data, 1, bytes, file) == bytes);
  CHECK(fclose(file) == 0);
}

const test_tensor model[] = {
    {"norm.weight", SLUICE_BF16, 2, {64, 64}},
    {"bias", SLUICE_F32, 1, {5}},
    {"none", SLUICE_U8, 1, {0}},
    {"scale", SLUICE_F32, 0, {0}},
    {"embed.weight", SLUICE_BF16, 2, {1024, 256}},
    {"layers.0.q", SLUICE_F32, 2, {32, 16}},
    {"layers.1.q", SLUICE_F32, 2, {32, 16}},
    {"packed", SLUICE_F4, 2, {6, 8}},
};
const size_t model_count = sizeof model / sizeof model[0];

const test_tensor* model_tensor(const char* name) {
  for (size_t i = 0; i < model_count; ++i) {
    if (strcmp(model[i].name, name) == 0) return &model[i];
  }
  check_failed(name, __FILE__, __LINE__);
  return NULL;
}

uint64_t test_bytes(const test_tensor* tensor) {
  uint64_t count = sluice_dtype_bits(tensor->dtype);
  for (uint32_t i = 0; i < tensor->dimensions; ++i) count *= tensor->shape[i];
  return count / 8;
}

uint8_t test_byte(const test_tensor* tensor, uint64_t index, uint32_t version) {
  uint32_t mixed = (uint32_t)index * 2654435761u + version * 40503u;
  for (const char* c = tensor->name; *c != '\0'; ++c) mixed = (mixed ^ (uint32_t)*c) * 16777619u;
  return (uint8_t)(mixed >> 13);
}

void check_content(const test_tensor* tensor, const uint8_t* got, uint64_t bytes) {
  for (uint64_t i = 0; i < bytes; ++i) CHECK(got[i] == test_byte(tensor, i, 0));
}

void write_shard(const char* name, const test_tensor* tensors, size_t count, uint32_t version, const char* metadata) {
  char header[4096] = "{";
  size_t end = 1;
  uint64_t offset = 0;
  if (metadata != NULL) end += (size_t)sprintf(header + end, "\"__metadata__\":%s,", metadata);
  for (size_t i = 0; i < count; ++i) {
    end += (size_t)sprintf(header + end, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i == 0 ? "" : ",", tensors[i].name,
                           sluice_dtype_name(tensors[i].dtype));
    for (uint32_t d = 0; d < tensors[i].dimensions; ++d) {
      end += (size_t)sprintf(header + end, "%s%llu", d == 0 ? "" : ",", (unsigned long long)tensors[i].shape[d]);
    }
    end += (size_t)sprintf(header + end, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)offset,
                           (unsigned long long)(offset + test_bytes(&tensors[i])));
    offset += test_bytes(&tensors[i]);
  }
  header[end++] = '}';
  CHECK(end < sizeof header);

  const uint64_t header_bytes = end;
  uint8_t* const content = malloc(8 + end + offset);
  CHECK(content != NULL);
  memcpy(content, &header_bytes, 8);
  memcpy(content + 8, header, end);
  uint8_t* next = content + 8 + end;
  for (size_t i = 0; i < count; ++i) {
    for (uint64_t b = 0; b < test_bytes(&tensors[i]); ++b) *next++ = test_byte(&tensors[i], b, version);
  }
  check_write(name, content, 8 + end + offset);
  free(content);
}
