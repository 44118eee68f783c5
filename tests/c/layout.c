/* The binary interface, frozen: sizes and offsets of what crosses the border, and the numbers of enums. A struct may
   grow at its end; what stands here of it stays, but for its whole size. */
#include "sluice/sluice.h"

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type)
#define AT(type, member, bytes) _Static_assert(offsetof(type, member) == (bytes), #type "." #member)

SIZE(sluice_string, 16);
AT(sluice_string, bytes, 8);
SIZE(sluice_device, 8);
AT(sluice_device, ordinal, 4);
SIZE(sluice_variable, 24);
AT(sluice_variable, value, 16);

SIZE(sluice_options, 40);
AT(sluice_options, size, 0);
AT(sluice_options, io, 4);
AT(sluice_options, reader, 8);
AT(sluice_options, trace, 12);
AT(sluice_options, queue_depth, 16);
AT(sluice_options, threads, 20);
AT(sluice_options, staging_bytes, 24);
AT(sluice_options, slab_bytes, 32);

SIZE(sluice_tensor_info, 56);
AT(sluice_tensor_info, dtype, 4);
AT(sluice_tensor_info, name, 8);
AT(sluice_tensor_info, shape, 24);
AT(sluice_tensor_info, dimensions, 32);
AT(sluice_tensor_info, shard, 36);
AT(sluice_tensor_info, offset, 40);
AT(sluice_tensor_info, bytes, 48);

SIZE(sluice_shard, 48);
AT(sluice_shard, direct_memory_alignment, 4);
AT(sluice_shard, direct_offset_alignment, 8);
AT(sluice_shard, metadata, 12);
AT(sluice_shard, path, 16);
AT(sluice_shard, bytes, 32);
AT(sluice_shard, data_offset, 40);

SIZE(sluice_checkpoint_info, 56);
AT(sluice_checkpoint_info, shards, 4);
AT(sluice_checkpoint_info, tensors, 8);
AT(sluice_checkpoint_info, bytes, 16);
AT(sluice_checkpoint_info, open_seconds, 24);
AT(sluice_checkpoint_info, open_cpu_seconds, 32);
AT(sluice_checkpoint_info, path, 40);

SIZE(sluice_slice_info, 40);
AT(sluice_slice_info, is_reshaped, 4);
AT(sluice_slice_info, is_reordered, 8);
AT(sluice_slice_info, cuts, 12);
AT(sluice_slice_info, shape, 16);
AT(sluice_slice_info, order, 24);
AT(sluice_slice_info, shape_dimensions, 32);
AT(sluice_slice_info, order_dimensions, 36);

SIZE(sluice_cut, 32);
AT(sluice_cut, kind, 4);
AT(sluice_cut, dimension, 8);
AT(sluice_cut, first, 16);
AT(sluice_cut, second, 24);

SIZE(sluice_request_info, 64);
AT(sluice_request_info, devices, 4);
AT(sluice_request_info, alignment_bytes, 8);
AT(sluice_request_info, is_strict, 12);
AT(sluice_request_info, rules, 16);
AT(sluice_request_info, destinations, 24);
AT(sluice_request_info, budget_bytes, 32);
AT(sluice_request_info, piece_bytes, 40);
AT(sluice_request_info, text, 48);

SIZE(sluice_rule_info, 80);
AT(sluice_rule_info, devices, 4);
AT(sluice_rule_info, pattern, 8);
AT(sluice_rule_info, is_cast, 24);
AT(sluice_rule_info, dtype, 28);
AT(sluice_rule_info, is_split, 32);
AT(sluice_rule_info, split_dimension, 36);
AT(sluice_rule_info, split_parts, 40);
AT(sluice_rule_info, targets, 48);
AT(sluice_rule_info, group, 52);
AT(sluice_rule_info, taken, 56);
AT(sluice_rule_info, is_skip, 64);
AT(sluice_rule_info, is_optional, 68);
AT(sluice_rule_info, line, 72);
AT(sluice_rule_info, column, 76);

SIZE(sluice_target, 40);
AT(sluice_target, line, 4);
AT(sluice_target, column, 8);
AT(sluice_target, destination, 16);
AT(sluice_target, from, 24);
AT(sluice_target, into, 32);

SIZE(sluice_destination_info, 96);
AT(sluice_destination_info, dtype, 4);
AT(sluice_destination_info, name, 8);
AT(sluice_destination_info, shape, 24);
AT(sluice_destination_info, strides, 32);
AT(sluice_destination_info, dimensions, 40);
AT(sluice_destination_info, stride_dimensions, 44);
AT(sluice_destination_info, device, 48);
AT(sluice_destination_info, has_memory, 56);
AT(sluice_destination_info, unwritten, 60);
AT(sluice_destination_info, data, 64);
AT(sluice_destination_info, bytes, 72);
AT(sluice_destination_info, group, 80);
AT(sluice_destination_info, line, 84);
AT(sluice_destination_info, column, 88);

SIZE(sluice_rules_options, 32);
AT(sluice_rules_options, value_count, 4);
AT(sluice_rules_options, device_count, 8);
AT(sluice_rules_options, flags, 12);
AT(sluice_rules_options, values, 16);
AT(sluice_rules_options, devices, 24);

SIZE(sluice_tensor, 72);
AT(sluice_tensor, dtype, 4);
AT(sluice_tensor, name, 8);
AT(sluice_tensor, shape, 24);
AT(sluice_tensor, strides, 32);
AT(sluice_tensor, dimensions, 40);
AT(sluice_tensor, group, 44);
AT(sluice_tensor, device, 48);
AT(sluice_tensor, data, 56);
AT(sluice_tensor, bytes, 64);

SIZE(sluice_costs, 112);
AT(sluice_costs, devices, 4);
AT(sluice_costs, groups, 8);
AT(sluice_costs, tensors, 16);
AT(sluice_costs, read_bytes, 24);
AT(sluice_costs, delivered_bytes, 32);
AT(sluice_costs, extents, 40);
AT(sluice_costs, in_place_extents, 48);
AT(sluice_costs, deliveries, 56);
AT(sluice_costs, copies, 64);
AT(sluice_costs, launches, 72);
AT(sluice_costs, staging_bytes, 80);
AT(sluice_costs, run_bytes_min, 88);
AT(sluice_costs, seconds, 96);
AT(sluice_costs, cpu_seconds, 104);

SIZE(sluice_device_costs, 64);
AT(sluice_device_costs, device, 4);
AT(sluice_device_costs, tensors, 16);
AT(sluice_device_costs, arena_bytes, 24);
AT(sluice_device_costs, arena_peak_bytes, 32);
AT(sluice_device_costs, caller_bytes, 40);
AT(sluice_device_costs, link_bytes, 48);
AT(sluice_device_costs, scratch_bytes, 56);

SIZE(sluice_group_costs, 32);
AT(sluice_group_costs, group, 4);
AT(sluice_group_costs, tensors, 8);
AT(sluice_group_costs, delivered_bytes, 16);
AT(sluice_group_costs, read_bytes_until, 24);

SIZE(sluice_memory, 32);
AT(sluice_memory, device, 4);
AT(sluice_memory, flags, 12);
AT(sluice_memory, data, 16);
AT(sluice_memory, bytes, 24);

SIZE(sluice_after, 24);
AT(sluice_after, device, 4);
AT(sluice_after, flags, 12);
AT(sluice_after, stream, 16);

SIZE(sluice_start_options, 32);
AT(sluice_start_options, arena_count, 4);
AT(sluice_start_options, after_count, 8);
AT(sluice_start_options, flags, 12);
AT(sluice_start_options, arenas, 16);
AT(sluice_start_options, after, 24);

SIZE(sluice_progress, 48);
AT(sluice_progress, is_finished, 4);
AT(sluice_progress, bytes_read, 8);
AT(sluice_progress, bytes_total, 16);
AT(sluice_progress, tensors_ready, 24);
AT(sluice_progress, tensors_total, 32);
AT(sluice_progress, is_held_up, 40);

SIZE(sluice_stats, 184);
AT(sluice_stats, reader, 4);
AT(sluice_stats, fallbacks, 8);
AT(sluice_stats, bytes, 16);
AT(sluice_stats, delivered_bytes, 24);
AT(sluice_stats, seconds, 32);
AT(sluice_stats, cpu_seconds, 40);
AT(sluice_stats, open_seconds, 48);
AT(sluice_stats, plan_seconds, 56);
AT(sluice_stats, start_up_seconds, 64);
AT(sluice_stats, load_seconds, 72);
AT(sluice_stats, devices_seconds, 80);
AT(sluice_stats, lanes_seconds, 88);
AT(sluice_stats, pinning_seconds, 96);
AT(sluice_stats, direct_bytes, 104);
AT(sluice_stats, extents, 112);
AT(sluice_stats, copies, 120);
AT(sluice_stats, launches, 128);
AT(sluice_stats, peak_staging_bytes, 136);
AT(sluice_stats, peak_arena_bytes, 144);
AT(sluice_stats, window_bytes, 152);
AT(sluice_stats, window_bytes_per_second, 160);
AT(sluice_stats, read_latency_seconds, 168);
AT(sluice_stats, peak_resident_bytes, 176);

SIZE(sluice_span, 48);
AT(sluice_span, kind, 4);
AT(sluice_span, row, 8);
AT(sluice_span, extent, 12);
AT(sluice_span, tensors, 16);
AT(sluice_span, bytes, 24);
AT(sluice_span, begin_ns, 32);
AT(sluice_span, end_ns, 40);

#define NUMBER(name, value) _Static_assert((name) == (value), #name)

NUMBER(SLUICE_OK, 0);
NUMBER(SLUICE_INVALID_ARGUMENT, 1);
NUMBER(SLUICE_NOT_FOUND, 2);
NUMBER(SLUICE_IO, 3);
NUMBER(SLUICE_BAD_HEADER, 4);
NUMBER(SLUICE_BAD_INDEX, 5);
NUMBER(SLUICE_UNSUPPORTED_FORMAT, 6);
NUMBER(SLUICE_LIMIT_EXCEEDED, 7);
NUMBER(SLUICE_TENSOR_NOT_FOUND, 8);
NUMBER(SLUICE_FILE_CHANGED, 9);
NUMBER(SLUICE_OUT_OF_MEMORY, 10);
NUMBER(SLUICE_DEVICE_UNAVAILABLE, 11);
NUMBER(SLUICE_READER_UNAVAILABLE, 12);
NUMBER(SLUICE_CANCELLED, 13);
NUMBER(SLUICE_SYSTEM, 14);
NUMBER(SLUICE_INCOMPLETE, 15);
NUMBER(SLUICE_BAD_RULES, 16);
NUMBER(SLUICE_BOOL, 0);
NUMBER(SLUICE_U8, 1);
NUMBER(SLUICE_I8, 2);
NUMBER(SLUICE_U16, 3);
NUMBER(SLUICE_I16, 4);
NUMBER(SLUICE_U32, 5);
NUMBER(SLUICE_I32, 6);
NUMBER(SLUICE_U64, 7);
NUMBER(SLUICE_I64, 8);
NUMBER(SLUICE_F16, 9);
NUMBER(SLUICE_BF16, 10);
NUMBER(SLUICE_F32, 11);
NUMBER(SLUICE_F64, 12);
NUMBER(SLUICE_C64, 13);
NUMBER(SLUICE_F8_E4M3, 14);
NUMBER(SLUICE_F8_E5M2, 15);
NUMBER(SLUICE_F8_E8M0, 16);
NUMBER(SLUICE_F8_E4M3FNUZ, 17);
NUMBER(SLUICE_F8_E5M2FNUZ, 18);
NUMBER(SLUICE_F6_E2M3, 19);
NUMBER(SLUICE_F6_E3M2, 20);
NUMBER(SLUICE_F4, 21);
NUMBER(SLUICE_HOST, 0);
NUMBER(SLUICE_CUDA, 1);
NUMBER(SLUICE_NULL, 2);
NUMBER(SLUICE_ANY, -1);
NUMBER(SLUICE_IO_AUTOMATIC, 0);
NUMBER(SLUICE_IO_DIRECT, 1);
NUMBER(SLUICE_IO_BUFFERED, 2);
NUMBER(SLUICE_READER_AUTOMATIC, 0);
NUMBER(SLUICE_READER_URING, 1);
NUMBER(SLUICE_READER_PREAD, 2);
NUMBER(SLUICE_READER_NULL, 3);
NUMBER(SLUICE_TIME_UP, 0);
NUMBER(SLUICE_ARRIVED, 1);
NUMBER(SLUICE_NO_MORE, 2);
NUMBER(SLUICE_SPAN_OPEN, 0);
NUMBER(SLUICE_SPAN_PLAN, 1);
NUMBER(SLUICE_SPAN_START_UP, 2);
NUMBER(SLUICE_SPAN_POPULATE, 3);
NUMBER(SLUICE_SPAN_READ, 4);
NUMBER(SLUICE_SPAN_COPY, 5);
NUMBER(SLUICE_SPAN_DELIVER, 6);
NUMBER(SLUICE_SPAN_WAIT, 7);
NUMBER(SLUICE_CUT_TAKE, 0);
NUMBER(SLUICE_CUT_PART, 1);
NUMBER(SLUICE_UNWRITTEN_REFUSED, 0);
NUMBER(SLUICE_UNWRITTEN_ZERO, 1);
NUMBER(SLUICE_UNWRITTEN_KEPT, 2);
NUMBER(SLUICE_FOREVER, -1);
NUMBER(SLUICE_REST, UINT64_MAX);
NUMBER(SLUICE_NO_EXTENT, 0xffffffff);
