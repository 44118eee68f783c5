/* What needs no checkpoint: version, names, options, errors, and the structs that carry their size. */
#include <string.h>

#include "check.h"

static void test_names(void) {
  sluice_error* error = NULL;
  uint32_t dtype = 99;
  CHECK(sluice_version() == SLUICE_VERSION);
  CHECK(SLUICE_VERSION == 100);
  CHECK(strcmp(sluice_code_name(SLUICE_BAD_HEADER), "bad_header") == 0);
  CHECK(sluice_code_name(0) == NULL && sluice_code_name(17) == NULL && sluice_code_name(-1) == NULL);

  for (uint32_t i = 0; i <= SLUICE_F4; ++i) {
    OK(sluice_dtype_parse(sluice_str(sluice_dtype_name(i)), &dtype, &error));
    CHECK(dtype == i);
  }
  CHECK(sluice_dtype_name(22) == NULL && sluice_dtype_bits(22) == 0 && sluice_dtype_is_castable(22) == 0);
  CHECK(sluice_dtype_bits(SLUICE_F4) == 4 && sluice_dtype_alignment(SLUICE_C64) == 4);
  CHECK(sluice_dtype_is_castable(SLUICE_BF16) == 1 && sluice_dtype_is_castable(SLUICE_I8) == 0);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_dtype_parse(sluice_str("bf16"), &dtype, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_dtype_parse(sluice_str("BF16"), NULL, &error));
  CHECK(sluice_dtype_parse(sluice_str("bf16"), &dtype, NULL) == SLUICE_INVALID_ARGUMENT);
  CHECK(dtype == SLUICE_F4);

  CHECK(strcmp(sluice_io_name(SLUICE_IO_DIRECT), "direct") == 0 && sluice_io_name(3) == NULL);
  CHECK(strcmp(sluice_reader_name(SLUICE_READER_URING), "uring") == 0 && sluice_reader_name(4) == NULL);
  CHECK(strcmp(sluice_span_name(SLUICE_SPAN_START_UP), "start-up") == 0 && sluice_span_name(8) == NULL);
}

static void test_devices(void) {
  sluice_error* error = NULL;
  sluice_text* text = NULL;
  sluice_device devices[2] = {{7, 7}, {7, 7}};
  size_t count = 0;
  OK(sluice_device_name(sluice_cuda(3), &text, &error));
  CHECK_STRING(sluice_text_string(text), "cuda:3");
  sluice_text_free(text);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_device_name(sluice_any(), &text, &error));
  CHECK(text == NULL);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_device_name(sluice_cuda(-1), &text, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_device_name(sluice_device_of(SLUICE_HOST, 1), &text, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_device_name(sluice_host(), NULL, &error));
  CHECK(sluice_text_string(NULL).bytes == 0);
  sluice_text_free(NULL);

  OK(sluice_parse_devices(sluice_str("cuda:0,1,host"), devices, 2, &count, &error));
  CHECK(count == 3 && devices[0].kind == SLUICE_CUDA && devices[1].kind == SLUICE_CUDA && devices[1].ordinal == 1);
  OK(sluice_parse_devices(sluice_str("host"), NULL, 0, &count, &error));
  CHECK(count == 1);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_parse_devices(sluice_str("gpu"), devices, 2, &count, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_parse_devices(sluice_str("host"), NULL, 2, &count, &error));
  const sluice_string hostile = {NULL, 4};
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_parse_devices(hostile, devices, 2, &count, &error));
  const sluice_string endless = {"host", SIZE_MAX};
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_parse_devices(endless, devices, 2, &count, &error));
}

/* As a caller with the headers of a later version has it. */
typedef struct later_options {
  sluice_options options;
  uint64_t news;
} later_options;

static void test_sizes(void) {
  sluice_error* error = NULL;
  sluice_options resolved = SLUICE_INIT(sluice_options);
  OK(sluice_resolve(NULL, &resolved, &error));
  CHECK(resolved.size == sizeof resolved && resolved.staging_bytes == 128u << 20 && resolved.slab_bytes == 4u << 20);
  CHECK(resolved.queue_depth == 32 && resolved.threads > 0);

  later_options later = {{.size = sizeof later, .queue_depth = 3}, 0};
  OK(sluice_resolve(&later.options, &resolved, &error));
  CHECK(resolved.queue_depth == 3);
  later.news = 1;
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_resolve(&later.options, &resolved, &error));

  later_options known = {{.size = sizeof known, .slab_bytes = 5}, 5};
  OK(sluice_resolve(NULL, &known.options, &error));
  CHECK(known.options.size == sizeof known && known.options.slab_bytes == 4u << 20 && known.news == 0);

  const uint32_t wrong[] = {0, 4, sizeof(sluice_options) - 1, sizeof(sluice_options) + 1, sizeof(sluice_options) + 4,
                            4097, UINT32_MAX};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; ++i) {
    sluice_options options = SLUICE_INIT(sluice_options);
    options.size = wrong[i];
    FAILS(SLUICE_INVALID_ARGUMENT, sluice_resolve(&options, &resolved, &error));
    FAILS(SLUICE_INVALID_ARGUMENT, sluice_resolve(NULL, &options, &error));
  }
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_resolve(NULL, NULL, &error));

  sluice_options options = SLUICE_INIT(sluice_options);
  options.io = 3;
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_resolve(&options, &resolved, &error));
  options.io = SLUICE_IO_DIRECT;
  options.reader = 4;
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_resolve(&options, &resolved, &error));
  options.reader = SLUICE_READER_PREAD;
  options.queue_depth = 257;
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_resolve(&options, &resolved, &error));
}

static void test_errors(void) {
  sluice_error* error = NULL;
  uint64_t offset = 7;
  CHECK(sluice_error_code(NULL) == SLUICE_OK && sluice_error_text(NULL)[0] == '\0');
  CHECK_STRING(sluice_error_message(NULL), "");
  CHECK_STRING(sluice_error_hint(NULL), "");
  CHECK_STRING(sluice_error_path(NULL), "");
  CHECK_STRING(sluice_error_tensor(NULL), "");
  CHECK(sluice_error_line(NULL) == 0 && sluice_error_column(NULL) == 0 && sluice_error_offset(NULL, &offset) == 0);
  sluice_error_free(NULL);

  static const char broken[] = "\x10\0\0\0\0\0\0\0{\"x\":{\"dtype\":1}}";
  check_write("broken.safetensors", broken, sizeof broken - 1);
  sluice_checkpoint* checkpoint = (sluice_checkpoint*)&offset;
  CHECK(sluice_checkpoint_open(sluice_str(check_path("broken.safetensors")), 0, &checkpoint, &error) ==
        SLUICE_BAD_HEADER);
  CHECK(checkpoint == NULL);
  CHECK_STRING(sluice_error_path(error), check_path("broken.safetensors"));
  CHECK(sluice_error_offset(error, &offset) == 1 && offset >= 8 && offset < sizeof broken);
  CHECK(sluice_error_offset(error, NULL) == 1);
  CHECK(strstr(sluice_error_text(error), sluice_error_message(error).data) != NULL);
  sluice_error_free(error);
}

void test_values(void) {
  test_names();
  test_devices();
  test_sizes();
  test_errors();
}
