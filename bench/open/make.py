"""Makes a checkpoint with the catalogue of a large mixture of experts: sparse shards, true headers, an index beside them.

Usage: make.py NEW_FOLDER [TENSORS [SHARDS]]     235,000 tensors in 282 shards, as GLM-5.1 has in NVFP4
"""

import json
import math
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import outputs  # noqa: E402

# Of each projection of an expert in NVFP4: packed values, a scale a block, a scale a tensor, a scale of the input.
PARTS = [("weight", "U8", [2048, 3072]), ("weight_scale", "F8_E4M3", [2048, 384]), ("weight_scale_2", "F32", []), ("input_scale", "F32", [])]
BYTES = {"U8": 1, "F8_E4M3": 1, "F32": 4}


def entries(count):
    projections = ("gate_proj", "up_proj", "down_proj")
    for i in range(count):
        part = PARTS[i % 4]
        expert = i // 12 % 256
        yield f"model.layers.{i // 3072}.mlp.experts.{expert}.{projections[i // 4 % 3]}.{part[0]}", part[1], part[2]


def write_shard(path, header, data_bytes):
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + data_bytes)


def make(folder, tensors, shards):
    """How many shards there are, and bytes of all tensors."""
    weight_map, total = {}, 0
    per_shard = -(-tensors // shards)
    all_entries = list(entries(tensors))
    for shard, first in enumerate(range(0, tensors, per_shard), start=1):
        name = f"model-{shard:05}-of-{shards:05}.safetensors"
        header, offset = {}, 0
        for tensor, dtype, shape in all_entries[first:first + per_shard]:
            size = BYTES[dtype] * math.prod(shape)
            header[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
            offset += size
            weight_map[tensor] = name
        write_shard(folder / name, header, offset)
        total += offset
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    return shard, total


def main():
    tensors = int(sys.argv[2]) if len(sys.argv) > 2 else 235_000
    shards = int(sys.argv[3]) if len(sys.argv) > 3 else 282
    with outputs.new_folder(sys.argv[1]) as folder:
        made, total = make(folder, tensors, shards)
    print(f"{tensors} tensors in {made} shards, {total} bytes, under {sys.argv[1]}")


if __name__ == "__main__":
    main()
