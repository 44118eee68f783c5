"""Makes a checkpoint in four shards, of random bits in the shape of a small language model, and the digest of each tensor.

usage: demo_checkpoint.py FOLDER BYTES
"""

import hashlib
import json
import pathlib
import sys

import numpy

import outputs

SHARDS = 4
DIGESTS = "digests.json"


def layer_tensors(width):
    """Names and shapes of one layer."""
    inner = width * 11 // 4
    yield "input_layernorm.weight", (width,)
    yield from ((f"self_attn.{part}_proj.weight", (width, width)) for part in "qkvo")
    yield "post_attention_layernorm.weight", (width,)
    yield from ((f"mlp.{part}_proj.weight", (inner, width)) for part in ("gate", "up"))
    yield "mlp.down_proj.weight", (width, inner)


def make(folder, size_bytes, dtype="BF16"):
    """Makes the checkpoint unless it is there."""
    if is_made(folder):
        return
    with outputs.new_folder(folder) as beside:
        fill(beside, size_bytes, dtype)


def is_made(folder):
    """Whether a folder is a checkpoint that make() made."""
    return (pathlib.Path(folder) / DIGESTS).exists()


def fill(folder, size_bytes, dtype):
    def size(shape):
        return {"BF16": 2, "F32": 4}[dtype] * int(numpy.prod(shape))

    width = 2048 if size_bytes >= 1 << 30 else 512
    layer_bytes = sum(size(shape) for _, shape in layer_tensors(width))
    layers_a_shard = max(1, size_bytes // (SHARDS * layer_bytes))
    random = numpy.random.default_rng(seed=1)
    digests, weight_map = {}, {}
    for shard in range(SHARDS):
        file = folder / f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        tensors = [(f"model.layers.{layer}.{name}", shape)
                   for layer in range(shard * layers_a_shard, (shard + 1) * layers_a_shard)
                   for name, shape in layer_tensors(width)]
        header, end = {}, 0
        for name, shape in tensors:
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": (end, end + size(shape))}
            end += size(shape)
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with open(file, "wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            for name, shape in tensors:
                data = random.bytes(size(shape))
                out.write(data)
                digests[name] = hashlib.sha256(data).hexdigest()
                weight_map[name] = file.name
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / DIGESTS).write_text(json.dumps(digests))


if __name__ == "__main__":
    make(sys.argv[1], int(sys.argv[2]))
