/* Checkpoints: what they say of themselves, and what is refused. */
#include <string.h>

#include "check.h"

static void test_refusals(void) {
  sluice_error* error = NULL;
  sluice_checkpoint* checkpoint = NULL;
  FAILS(SLUICE_NOT_FOUND, sluice_checkpoint_open(sluice_str(check_path("nothing")), 0, &checkpoint, &error));
  check_write("old.pt", "PK\x03\x04", 4);
  FAILS(SLUICE_UNSUPPORTED_FORMAT, sluice_checkpoint_open(sluice_str(check_path("old.pt")), 0, &checkpoint, &error));
  check_write("torn.safetensors.index.json", "{", 1);
  FAILS(SLUICE_BAD_INDEX,
        sluice_checkpoint_open(sluice_str(check_path("torn.safetensors.index.json")), 0, &checkpoint, &error));
  const char endless[8] = {0, 0, 0, 0, 1, 0, 0, 0};
  check_write("endless.safetensors", endless, sizeof endless);
  CHECK(sluice_checkpoint_open(sluice_str(check_path("endless.safetensors")), 0, &checkpoint, &error) != SLUICE_OK);
  sluice_error_free(error);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_checkpoint_open(sluice_str("x"), 0, NULL, &error));
  const sluice_string hidden = {"a\0b", 3};
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_checkpoint_open(hidden, 0, &checkpoint, &error));
  const sluice_string none = {NULL, 3};
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_checkpoint_open(none, 0, &checkpoint, &error));
  sluice_checkpoint_free(NULL);
}

static void test_tensors(const sluice_checkpoint* checkpoint) {
  sluice_error* error = NULL;
  sluice_tensor_info info = SLUICE_INIT(sluice_tensor_info);
  int found = 7;
  uint64_t end = 0;
  for (size_t i = 0; i < model_count; ++i) {
    OK(sluice_checkpoint_tensor(checkpoint, i, &info, &error));
    CHECK_STRING(info.name, model[i].name);
    CHECK(info.dtype == model[i].dtype && info.dimensions == model[i].dimensions && info.shard == 0);
    CHECK(info.dimensions == 0 || memcmp(info.shape, model[i].shape, 8 * info.dimensions) == 0);
    CHECK(info.bytes == test_bytes(&model[i]) && (i == 0 || info.offset == end));
    end = info.offset + info.bytes;
  }
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_checkpoint_tensor(checkpoint, model_count, &info, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_checkpoint_tensor(checkpoint, UINT64_MAX, &info, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_checkpoint_tensor(checkpoint, 0, NULL, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_checkpoint_tensor(NULL, 0, &info, &error));

  OK(sluice_checkpoint_find(checkpoint, sluice_str("bias"), &info, &found, &error));
  CHECK(found == 1 && info.bytes == 20);
  OK(sluice_checkpoint_find(checkpoint, sluice_str("bia"), &info, &found, &error));
  CHECK(found == 0 && info.bytes == 20);
  OK(sluice_checkpoint_find(checkpoint, sluice_str("scale"), NULL, &found, &error));
  CHECK(found == 1);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_checkpoint_find(checkpoint, sluice_str("bias"), &info, NULL, &error));
}

void test_checkpoints(void) {
  sluice_error* error = NULL;
  sluice_checkpoint* checkpoint = NULL;
  sluice_checkpoint_info info = SLUICE_INIT(sluice_checkpoint_info);
  sluice_shard shard = SLUICE_INIT(sluice_shard);
  sluice_string name, value;
  test_refusals();

  OK(sluice_checkpoint_open(sluice_str(check_path("model.safetensors")), 1, &checkpoint, &error));
  OK(sluice_checkpoint_describe(checkpoint, &info, &error));
  CHECK(info.shards == 1 && info.tensors == model_count && info.open_seconds > 0);
  CHECK_STRING(info.path, check_path("model.safetensors"));
  test_tensors(checkpoint);

  OK(sluice_checkpoint_shard(checkpoint, 0, &shard, &error));
  CHECK_STRING(shard.path, check_path("model.safetensors"));
  CHECK(shard.metadata == 2 && shard.bytes == shard.data_offset + info.bytes);
  OK(sluice_checkpoint_metadata(checkpoint, 0, 1, &name, &value, &error));
  CHECK_STRING(name, "format");
  CHECK_STRING(value, "pt");
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_checkpoint_metadata(checkpoint, 0, 2, &name, &value, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_checkpoint_metadata(checkpoint, 1, 0, &name, &value, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_checkpoint_metadata(checkpoint, 0, 0, &name, NULL, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_checkpoint_shard(checkpoint, 1, &shard, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_checkpoint_describe(NULL, &info, &error));
  sluice_checkpoint_free(checkpoint);
}
