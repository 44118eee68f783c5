"""Makes the files of this folder: one attack each, named by it. Run it after a change; the files are committed.

Each is what someone might hand in to make a loader crash, hang, read what it should not, or give wrong weights.
"""

import pathlib
import struct

HERE = pathlib.Path(__file__).parent


def shard(name, header, data=b"", length=None):
    raw = header if isinstance(header, bytes) else header.encode()
    content = struct.pack("<Q", len(raw) if length is None else length) + raw + data
    (HERE / f"{name}.safetensors").write_bytes(content)


def tensor(begin=0, end=4, dtype="U8", shape="[4]", extra=""):
    return '{"dtype":"%s","shape":%s,"data_offsets":[%s,%s]%s}' % (dtype, shape, begin, end, extra)


# Lengths that would make a loader allocate, or read past the file.
shard("header_length_of_16_exabytes", "{}", length=(1 << 64) - 1)
shard("header_length_wraps_when_8_is_added", "{}", length=(1 << 64) - 8)
shard("header_length_past_the_end_of_the_file", "{}", length=1000)
shard("header_longer_than_the_formats_limit", "{}", length=100_000_001)
# Lengths that spell another format, which users would be told to unpickle or to convert.
shard("truncated_header_whose_length_spells_a_pickle", '{"a":%s' % tensor(), length=0x010280)
shard("truncated_header_whose_length_spells_onnx", '{"a":%s' % tensor(), length=0x120508)
# Tensors that would read what is not theirs.
shard("tensor_past_the_end_of_the_file", '{"a":%s}' % tensor(0, 1 << 40, shape="[1099511627776]"), b"1234")
shard("tensors_overlap", '{"a":%s,"b":%s}' % (tensor(), tensor(2, 6)), b"123456")
shard("hole_between_tensors_hides_bytes", '{"a":%s,"b":%s}' % (tensor(), tensor(8, 12)), b"1234hide1234")
shard("bytes_hidden_behind_the_last_tensor", '{"a":%s}' % tensor(), b"1234#!/bin/sh")
shard("offsets_end_before_they_begin", '{"a":%s}' % tensor(4, 0), b"1234")
shard("offset_negative", '{"a":%s}' % tensor(-4, 0), b"1234")
# Sizes that agree only after an overflow.
shard("shape_overflows_to_the_right_size", '{"a":%s}' % tensor(shape="[4294967296,4294967296,4]", end=0))
shard("shape_overflows_before_a_zero", '{"a":%s}' % tensor(shape="[9223372036854775808,4,0]", end=0))
shard("bits_overflow_64_bits", '{"a":%s}' % tensor(shape="[2305843009213693952]", dtype="F64", end=0))
shard("sub_byte_tensor_ends_inside_a_byte", '{"a":%s}' % tensor(0, 2, "F4", "[3]"), b"12")
# JSON that parsers disagree on: one reads other weights than the other.
shard("name_twice", '{"a":%s,"a":%s}' % (tensor(), tensor()), b"1234")
shard("name_twice_once_escaped", '{"a":%s,"\\u0061":%s}' % (tensor(), tensor()), b"1234")
shard("offsets_twice", '{"a":%s}' % tensor(extra=',"data_offsets":[4,8]'), b"12345678")
shard("metadata_twice", '{"__metadata__":{},"__metadata__":{"a":"b"}}')
shard("byte_order_mark", b"\xef\xbb\xbf{}")
shard("second_document_behind_the_first", "{}{}")
shard("closed_by_tensor_data", '{"a":' + tensor(), b"}}}}")
shard("number_with_a_fraction", '{"a":%s}' % tensor(end="4.0"), b"1234")
shard("number_minus_zero", '{"a":%s}' % tensor(begin="-0"), b"1234")
shard("number_infinite_in_an_unknown_key", '{"a":%s}' % tensor(extra=',"x":1e999'), b"1234")
shard("invalid_json_in_an_unknown_key", '{"a":%s}' % tensor(extra=',"x":[tru]'), b"1234")
shard("lone_surrogate_in_a_name", '{"\\ud800":%s}' % tensor(), b"1234")
shard("invalid_utf8_in_a_name", b'{"\xff":' + tensor().encode() + b"}", b"1234")
shard("nesting_that_would_overflow_the_stack", '{"a":%s}' % tensor(extra=',"x":' + "[" * 100_000 + "]" * 100_000), b"1234")
# Names that attack whoever reads them.
shard("name_that_drives_the_terminal", '{"\\u001b[2J\\nok: 1 tensor":%s}' % tensor(end=3), b"1234")
shard("name_of_70000_bytes", '{"%s":%s}' % ("n" * 70_000, tensor()), b"1234")
# Other formats in disguise. The pickle would run `echo` if it were ever loaded.
(HERE / "pickle_that_runs_a_command.safetensors").write_bytes(b"cos\nsystem\n(S'echo unpickled'\ntR.")
(HERE / "html_page_of_a_refused_download.safetensors").write_bytes(b"<!DOCTYPE html><title>401</title>\n")
(HERE / "git_lfs_pointer.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\nsize 12\n")
(HERE / "space_that_a_download_reserved.safetensors").write_bytes(b"\0" * 1024)
# Indexes that lead elsewhere.
for name, file in {
    "index_to_an_absolute_path": "/etc/passwd",
    "index_out_of_its_folder": "../../etc/passwd",
    "index_out_of_its_folder_by_a_detour": "a/../../passwd",
    "index_to_a_nul": "a\\u0000.safetensors",
    "index_to_a_missing_shard": "missing.safetensors",
}.items():
    (HERE / f"{name}.safetensors.index.json").write_text('{"weight_map":{"a":"%s"}}\n' % file)
(HERE / "index_of_nothing.safetensors.index.json").write_text('{"weight_map":{}}\n')
