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


def make_small(folder, count):
    """Makes a checkpoint of so many small tensors, of 16 to 160 KiB each, as mixtures of experts have them, unless it is
    there."""
    if is_made(folder):
        return
    random = numpy.random.default_rng(seed=2)
    sizes = [int(kib) << 10 for kib in random.choice([16, 32, 64, 128, 160], count)]
    tensors = [(f"model.layers.{i % 48}.mlp.experts.{i // 48}.weight", "BF16", (size // 2,)) for i, size in enumerate(sizes)]
    share = -(-count // SHARDS)
    with outputs.new_folder(folder) as beside:
        write(beside, [tensors[i:i + share] for i in range(0, count, share)], random)


def is_made(folder):
    """Whether a folder is a checkpoint that make() made."""
    return (pathlib.Path(folder) / DIGESTS).exists()


def bytes_of(dtype, shape):
    return {"F8_E4M3": 1, "BF16": 2, "F32": 4}[dtype] * int(numpy.prod(shape))


def stored(name, dtype, shape):
    """What a checkpoint of that dtype holds of a tensor: names, dtypes, shapes. Of FP8, matrices only, each with a scale
    for every block of 128 by 128, as models in FP8 have them."""
    if dtype != "F8_E4M3":
        yield name, dtype, shape
    elif len(shape) == 1:
        yield name, "BF16", shape
    else:
        yield name, dtype, shape
        yield f"{name}_scale_inv", "F32", tuple(-(-extent // 128) for extent in shape)


def fill(folder, size_bytes, dtype):
    width = 2048 if size_bytes >= 1 << 30 else 512
    layer = [entry for name, shape in layer_tensors(width) for entry in stored(name, dtype, shape)]
    layer_bytes = sum(bytes_of(of, shape) for _, of, shape in layer)
    layers_a_shard = max(1, size_bytes // (SHARDS * layer_bytes))
    write(folder, [[(f"model.layers.{number}.{name}", of, shape)
                    for number in range(shard * layers_a_shard, (shard + 1) * layers_a_shard)
                    for name, of, shape in layer]
                   for shard in range(SHARDS)], numpy.random.default_rng(seed=1))


def write(folder, shards, random):
    """Shards, each a list of names, dtypes and shapes, their index and the digests."""
    digests, weight_map = {}, {}
    for shard, tensors in enumerate(shards):
        file = folder / f"model-{shard + 1:05}-of-{len(shards):05}.safetensors"
        header, end = {}, 0
        for name, dtype, shape in tensors:
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": (end, end + bytes_of(dtype, shape))}
            end += bytes_of(dtype, shape)
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with open(file, "wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            for name, dtype, shape in tensors:
                data = random.bytes(bytes_of(dtype, shape))
                out.write(data)
                digests[name] = hashlib.sha256(data).hexdigest()
                weight_map[name] = file.name
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / DIGESTS).write_text(json.dumps(digests))


if __name__ == "__main__":
    make(sys.argv[1], int(sys.argv[2]))
