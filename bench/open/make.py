"""Makes a checkpoint with the catalogue of a large mixture of experts: sparse shards, true headers, an index beside them.

Usage: make.py FOLDER [TENSORS [SHARDS]]     235,000 tensors in 282 shards, as GLM-5.1 has in NVFP4
"""

import json
import pathlib
import struct
import sys

folder = pathlib.Path(sys.argv[1])
tensors = int(sys.argv[2]) if len(sys.argv) > 2 else 235_000
shards = int(sys.argv[3]) if len(sys.argv) > 3 else 282
folder.mkdir(parents=True, exist_ok=True)

# Of each projection of an expert in NVFP4: packed values, a scale a block, a scale a tensor, a scale of the input.
PARTS = [("weight", "U8", [2048, 3072]), ("weight_scale", "F8_E4M3", [2048, 384]), ("weight_scale_2", "F32", []), ("input_scale", "F32", [])]
BYTES = {"U8": 1, "F8_E4M3": 1, "F32": 4}


def entries(count):
    projections = ("gate_proj", "up_proj", "down_proj")
    for i in range(count):
        part = PARTS[i % 4]
        expert = i // 12 % 256
        yield f"model.layers.{i // 3072}.mlp.experts.{expert}.{projections[i // 4 % 3]}.{part[0]}", part[1], part[2]


weight_map = {}
header, offset, shard = {}, 0, 0
per_shard = -(-tensors // shards)
total = 0


def flush():
    global header, offset, shard
    shard += 1
    name = f"model-{shard:05}-of-{shards:05}.safetensors"
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / name, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)
    for key in header:
        weight_map[key] = name
    header, offset = {}, 0


for name, dtype, shape in entries(tensors):
    size = BYTES[dtype]
    for dimension in shape:
        size *= dimension
    header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
    offset += size
    total += size
    if len(header) == per_shard:
        flush()
if header:
    flush()
(folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2))
print(f"{tensors} tensors in {shard} shards, {total} bytes, under {folder}")
