/* Requests: what is said of slices, rules and destinations, what they say of themselves, and rules files. */
#include <string.h>

#include "check.h"

static void test_slices(void) {
  sluice_error* error = NULL;
  sluice_slice *slice = NULL, *copy = NULL, *blocks = NULL;
  sluice_text* text = NULL;
  sluice_slice_info info = SLUICE_INIT(sluice_slice_info);
  sluice_cut cut = SLUICE_INIT(sluice_cut);
  const uint64_t shape[] = {8, 2, 96};
  const uint32_t order[] = {1, 0};
  OK(sluice_slice_new(&slice, &error));
  OK(sluice_slice_as(slice, shape, 3, &error));
  OK(sluice_slice_take(slice, 0, 2, SLUICE_REST, &error));
  OK(sluice_slice_at(slice, 1, 1, &error));
  OK(sluice_slice_copy(slice, &copy, &error));
  OK(sluice_slice_part(slice, 2, 1, 3, &error));
  OK(sluice_slice_order(slice, order, 2, &error));
  OK(sluice_slice_text(slice, &text, &error));
  CHECK_STRING(sluice_text_string(text), "[2:, 1, part 1 of 3] as [8, 2, 96] order (1, 0)");
  sluice_text_free(text);
  OK(sluice_slice_text(copy, &text, &error));
  CHECK_STRING(sluice_text_string(text), "[2:, 1] as [8, 2, 96]");
  sluice_text_free(text);

  OK(sluice_slice_describe(slice, &info, &error));
  CHECK(info.is_reshaped == 1 && info.is_reordered == 1 && info.cuts == 3);
  CHECK(info.shape_dimensions == 3 && memcmp(info.shape, shape, sizeof shape) == 0);
  CHECK(info.order_dimensions == 2 && memcmp(info.order, order, sizeof order) == 0);
  OK(sluice_slice_cut(slice, 2, &cut, &error));
  CHECK(cut.kind == SLUICE_CUT_PART && cut.dimension == 2 && cut.first == 1 && cut.second == 3);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_slice_cut(slice, 3, &cut, &error));
  sluice_slice_free(copy);
  sluice_slice_free(slice);
  sluice_slice_free(NULL);

  const uint64_t whole[] = {512, 256}, block[] = {128, 128};
  OK(sluice_slice_new(&slice, &error));
  OK(sluice_slice_take(slice, 0, 128, 256, &error));
  OK(sluice_slice_blocks_of(slice, whole, block, 2, &blocks, &error));
  OK(sluice_slice_text(blocks, &text, &error));
  CHECK_STRING(sluice_text_string(text), "[1:3]");
  sluice_text_free(text);
  sluice_slice_free(blocks);
  OK(sluice_slice_blocks_of(NULL, whole, block, 2, &blocks, &error));
  sluice_slice_free(blocks);
  OK(sluice_slice_take(slice, 0, 1, 1, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_slice_blocks_of(slice, whole, block, 2, &blocks, &error));
  CHECK(blocks == NULL);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_slice_blocks_of(slice, whole, NULL, 2, &blocks, &error));

  FAILS(SLUICE_INVALID_ARGUMENT, sluice_slice_as(slice, NULL, 1, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_slice_as(slice, shape, 65, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_slice_order(slice, NULL, UINT32_MAX, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_slice_take(NULL, 0, 0, 1, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_slice_at(NULL, 0, 0, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_slice_part(NULL, 0, 0, 1, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_slice_copy(NULL, &copy, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_slice_text(NULL, &text, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_slice_describe(NULL, &info, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_slice_new(NULL, &error));
  sluice_slice_free(slice);
}

/* Says everything that can be said. */
static sluice_request* make_request(uint64_t* memory, size_t bytes) {
  sluice_error* error = NULL;
  sluice_request* request = NULL;
  sluice_rule* rule = NULL;
  sluice_destination* destination = NULL;
  sluice_slice* slice = NULL;
  const sluice_device devices[] = {{SLUICE_HOST, 0}, {SLUICE_CUDA, 1}};
  const uint64_t shape[] = {4, 2}, strides[] = {8, 1};
  OK(sluice_request_new(&request, &error));
  OK(sluice_request_set_devices(request, devices, 2, &error));
  OK(sluice_request_set_alignment(request, 64, &error));
  OK(sluice_request_set_strict(request, 1, &error));
  OK(sluice_request_set_text(request, sluice_str("by hand"), &error));

  OK(sluice_request_destination(request, sluice_str("d"), shape, 2, SLUICE_F32, sluice_host(), &destination, &error));
  OK(sluice_destination_memory(destination, memory, bytes, &error));
  OK(sluice_destination_strides(destination, strides, 2, &error));
  OK(sluice_destination_zero(destination, &error));
  OK(sluice_destination_keep(destination, &error));
  OK(sluice_destination_group(destination, 5, &error));
  OK(sluice_destination_said_at(destination, 2, 3, &error));

  OK(sluice_slice_new(&slice, &error));
  OK(sluice_slice_take(slice, 0, 0, 4, &error));
  OK(sluice_request_add(request, sluice_str("a*"), &rule, &error));
  OK(sluice_rule_cast(rule, SLUICE_F32, &error));
  OK(sluice_rule_on(rule, devices + 1, 1, &error));
  OK(sluice_rule_said_at(rule, 7, 8, &error));
  OK(sluice_rule_to(rule, destination, slice, NULL, &error));
  OK(sluice_rule_take(rule, slice, &error));
  OK(sluice_rule_split(rule, 1, 2, &error));
  OK(sluice_rule_group(rule, 9, &error));
  OK(sluice_rule_skip(rule, &error));
  OK(sluice_rule_optional(rule, &error));
  OK(sluice_request_add(request, sluice_str("b"), NULL, &error));
  sluice_slice_free(slice); /* it was copied */
  return request;
}

static void test_what_was_said(void) {
  sluice_error* error = NULL;
  uint64_t memory[16];
  sluice_request* const original = make_request(memory, sizeof memory);
  sluice_request* request = NULL;
  OK(sluice_request_copy(original, &request, &error));
  sluice_request_free(original);

  sluice_request_info said = SLUICE_INIT(sluice_request_info);
  sluice_device device = {0, 0};
  OK(sluice_request_describe(request, &said, &error));
  CHECK(said.devices == 2 && said.alignment_bytes == 64 && said.is_strict == 1 && said.rules == 2);
  CHECK(said.destinations == 1);
  CHECK_STRING(said.text, "by hand");
  OK(sluice_request_device(request, 1, &device, &error));
  CHECK(device.kind == SLUICE_CUDA && device.ordinal == 1);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_request_device(request, 2, &device, &error));

  const sluice_destination* destination = NULL;
  sluice_destination_info d = SLUICE_INIT(sluice_destination_info);
  OK(sluice_request_destination_at(request, 0, &destination, &error));
  OK(sluice_destination_describe(destination, &d, &error));
  CHECK_STRING(d.name, "d");
  CHECK(d.dtype == SLUICE_F32 && d.dimensions == 2 && d.shape[0] == 4 && d.shape[1] == 2);
  CHECK(d.stride_dimensions == 2 && d.strides[0] == 8 && d.has_memory == 1 && d.data == memory);
  CHECK(d.bytes == sizeof memory && d.unwritten == SLUICE_UNWRITTEN_KEPT && d.group == 5 && d.line == 2);
  CHECK(d.column == 3 && d.device.kind == SLUICE_HOST);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_request_destination_at(request, 1, &destination, &error));

  const sluice_rule* rule = NULL;
  sluice_rule_info r = SLUICE_INIT(sluice_rule_info);
  sluice_target target = SLUICE_INIT(sluice_target);
  sluice_text* text = NULL;
  OK(sluice_request_rule_at(request, 0, &rule, &error));
  OK(sluice_rule_describe(rule, &r, &error));
  CHECK_STRING(r.pattern, "a*");
  CHECK(r.is_cast == 1 && r.dtype == SLUICE_F32 && r.devices == 1 && r.is_split == 1 && r.split_dimension == 1);
  CHECK(r.split_parts == 2 && r.targets == 1 && r.group == 9 && r.is_skip == 1 && r.is_optional == 1);
  CHECK(r.line == 7 && r.column == 8 && r.taken != NULL);
  OK(sluice_rule_device(rule, 0, &device, &error));
  CHECK(device.kind == SLUICE_CUDA);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_rule_device(rule, 1, &device, &error));
  OK(sluice_rule_target(rule, 0, &target, &error));
  CHECK(target.destination == destination && target.line == 7);
  OK(sluice_slice_text(target.from, &text, &error));
  CHECK_STRING(sluice_text_string(text), "[:4]");
  sluice_text_free(text);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_rule_target(rule, 1, &target, &error));
  OK(sluice_request_rule_at(request, 1, &rule, &error));
  OK(sluice_rule_describe(rule, &r, &error));
  CHECK(r.is_cast == 0 && r.is_split == 0 && r.taken == NULL && r.devices == 0);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_request_rule_at(request, 2, &rule, &error));
  sluice_request_free(request);
}

static void test_wrong_arguments(void) {
  sluice_error* error = NULL;
  sluice_request *request = NULL, *copy = (sluice_request*)&error;
  sluice_rule *rule = NULL, *same = NULL;
  sluice_destination* destination = NULL;
  sluice_request_info said = SLUICE_INIT(sluice_request_info);
  sluice_rule_info r = SLUICE_INIT(sluice_rule_info);
  sluice_destination_info d = SLUICE_INIT(sluice_destination_info);
  sluice_target target = SLUICE_INIT(sluice_target);
  const uint64_t shape[] = {4};
  const sluice_device unknown = {3, 0};
  OK(sluice_request_new(&request, &error));
  OK(sluice_request_add(request, sluice_str("x"), &rule, &error));
  OK(sluice_request_add(request, sluice_str("x"), &same, &error));
  CHECK(rule == same);

  FAILS(SLUICE_INVALID_ARGUMENT, sluice_rule_cast(rule, 22, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_rule_on(rule, &unknown, 1, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_rule_on(rule, NULL, 1, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_rule_on(rule, &unknown, 65, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_rule_to(rule, NULL, NULL, NULL, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_request_set_devices(request, &unknown, 1, &error));
  FAILS(SLUICE_INVALID_ARGUMENT,
        sluice_request_destination(request, sluice_str("d"), shape, 1, 99, sluice_host(), &destination, &error));
  FAILS(SLUICE_INVALID_ARGUMENT,
        sluice_request_destination(request, sluice_str("d"), NULL, 1, SLUICE_F32, sluice_host(), &destination, &error));
  FAILS(SLUICE_INVALID_ARGUMENT,
        sluice_request_destination(request, sluice_str("d"), shape, 1, SLUICE_F32, sluice_any(), &destination, &error));
  FAILS(SLUICE_INVALID_ARGUMENT,
        sluice_request_destination(request, sluice_str("d"), shape, 1, SLUICE_F32, sluice_host(), NULL, &error));
  OK(sluice_request_describe(request, &said, &error));
  CHECK(said.destinations == 0 && said.devices == 1);

  FAILS(SLUICE_INVALID_ARGUMENT, sluice_request_new(NULL, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_request_copy(NULL, &copy, &error));
  CHECK(copy == NULL);
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_request_add(NULL, sluice_str("x"), &rule, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_request_set_devices(NULL, NULL, 0, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_request_set_alignment(NULL, 0, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_request_set_strict(NULL, 0, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_request_set_text(NULL, sluice_str(""), &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_request_describe(NULL, &said, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_rule_cast(NULL, SLUICE_F32, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_rule_take(NULL, NULL, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_rule_split(NULL, 0, 0, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_rule_group(NULL, 0, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_rule_skip(NULL, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_rule_optional(NULL, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_rule_said_at(NULL, 1, 1, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_rule_describe(NULL, &r, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_rule_target(NULL, 0, &target, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_destination_memory(NULL, NULL, 0, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_destination_strides(NULL, NULL, 0, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_destination_zero(NULL, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_destination_keep(NULL, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_destination_group(NULL, 0, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_destination_said_at(NULL, 1, 1, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_destination_describe(NULL, &d, &error));
  sluice_request_free(request);
}

static void test_rules(const sluice_checkpoint* checkpoint) {
  static const char rules[] =
      "let rows = 0\n"
      "tensor q F32 [2 * rows, 16] group 3\n"
      "layers.0.q -> q[0 : rows]\n"
      "layers.1.q -> q[rows : 2 * rows]\n"
      "* skip\n";
  sluice_error* error = NULL;
  sluice_request *request = NULL, *again = NULL;
  sluice_text* text = NULL;
  const sluice_variable values[] = {{sluice_str("rows"), 32}};
  sluice_rules_options options = SLUICE_INIT(sluice_rules_options);
  options.values = values;
  options.value_count = 1;
  OK(sluice_parse_rules(sluice_str(rules), checkpoint, &options, sluice_str(""), &request, &error));
  OK(sluice_write_rules(checkpoint, request, &text, &error));
  CHECK(strstr(sluice_text_string(text).data, "layers.1.q") != NULL);
  check_write("said.rules", sluice_text_string(text).data, sluice_text_string(text).bytes);
  OK(sluice_read_rules(sluice_str(check_path("said.rules")), checkpoint, NULL, &again, &error));
  sluice_request_info said = SLUICE_INIT(sluice_request_info);
  OK(sluice_request_describe(again, &said, &error));
  CHECK(said.destinations == 1);
  CHECK_STRING(said.text, check_path("said.rules"));
  sluice_text_free(text);
  sluice_request_free(again);
  sluice_request_free(request);

  CHECK(sluice_parse_rules(sluice_str("* skip\n* nonsense\n"), checkpoint, NULL, sluice_str("mine"), &request,
                           &error) == SLUICE_BAD_RULES);
  CHECK(request == NULL && sluice_error_line(error) == 2 && sluice_error_column(error) > 1);
  CHECK_STRING(sluice_error_path(error), "mine");
  sluice_error_free(error);
  FAILS(SLUICE_TENSOR_NOT_FOUND,
        sluice_parse_rules(sluice_str("nobody\n"), checkpoint, NULL, sluice_str(""), &request, &error));
  FAILS(SLUICE_NOT_FOUND, sluice_read_rules(sluice_str(check_path("no.rules")), checkpoint, NULL, &request, &error));
  options.flags = 1;
  FAILS(SLUICE_INVALID_ARGUMENT,
        sluice_parse_rules(sluice_str("* skip\n"), checkpoint, &options, sluice_str(""), &request, &error));
  options.flags = 0;
  options.values = NULL;
  FAILS(SLUICE_INVALID_ARGUMENT,
        sluice_parse_rules(sluice_str("* skip\n"), checkpoint, &options, sluice_str(""), &request, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_parse_rules(sluice_str(""), NULL, NULL, sluice_str(""), &request, &error));
  FAILS(SLUICE_INVALID_ARGUMENT, sluice_write_rules(checkpoint, NULL, &text, &error));
}

void test_requests(void) {
  sluice_error* error = NULL;
  sluice_checkpoint* checkpoint = NULL;
  test_slices();
  test_what_was_said();
  test_wrong_arguments();
  OK(sluice_checkpoint_open(sluice_str(check_path("model.safetensors")), 0, &checkpoint, &error));
  test_rules(checkpoint);
  sluice_checkpoint_free(checkpoint);
}
