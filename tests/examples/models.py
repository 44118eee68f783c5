"""Small Llama-like checkpoints of random words, and the programs of docs/examples that are run on them."""

import array
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import unittest

LAYERS = 3
HIDDEN = 32
VOCABULARY = 101  # odd: two ranks do not divide it
SHAPES = {
    "self_attn.q_proj.weight": [64, HIDDEN],
    "self_attn.k_proj.weight": [16, HIDDEN],
    "self_attn.v_proj.weight": [16, HIDDEN],
    "self_attn.o_proj.weight": [HIDDEN, 64],
    "mlp.gate_proj.weight": [96, HIDDEN],
    "mlp.up_proj.weight": [96, HIDDEN],
    "mlp.down_proj.weight": [HIDDEN, 96],
    "input_layernorm.weight": [HIDDEN],
    "post_attention_layernorm.weight": [HIDDEN],
}


def shapes():
    yield "model.embed_tokens.weight", [VOCABULARY, HIDDEN]
    for layer in range(LAYERS):
        for name, shape in SHAPES.items():
            yield f"model.layers.{layer}.{name}", shape
    yield "model.norm.weight", [HIDDEN]
    yield "lm_head.weight", [VOCABULARY, HIDDEN]


def random_model(seed):
    """name -> (shape, words): BF16 of any bits."""
    source = random.Random(seed)
    model = {}
    for name, shape in shapes():
        count = shape[0] * (shape[1] if len(shape) == 2 else 1)
        model[name] = (shape, array.array("H", source.randbytes(2 * count)))
    return model


def save(folder, model):
    """Writes the one shard of a checkpoint; what is in `model` as (dtype, shape, bytes) is written as it is."""
    folder.mkdir()
    header, data = {}, b""
    for name, tensor in model.items():
        dtype, shape, content = tensor if len(tensor) == 3 else ("BF16", tensor[0], tensor[1].tobytes())
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return folder


def sum_of(words):
    """As the examples' kernel adds them."""
    return f"{sum(words) % 2**32:08x}"


class ExampleTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def start(self, *arguments, **environment):
        return subprocess.Popen([PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env={**os.environ, "LD_LIBRARY_PATH": SIMULATED_DRIVER, **environment})

    def run_example(self, *arguments, **environment):
        """Exit status, and what it said: on standard output, on standard error."""
        with self.start(*arguments, **environment) as process:
            out, error = process.communicate()
        return process.returncode, out, error

    def expect_refused(self, message, *arguments):
        """Ends with status 1, says why, and promises nothing."""
        status, out, error = self.run_example(*arguments)
        self.assertEqual(status, 1, out + error)
        self.assertRegex(error, message)
        return out


def main():
    global PROGRAM, SIMULATED_DRIVER
    PROGRAM, SIMULATED_DRIVER = sys.argv[1:]
    unittest.main(argv=sys.argv[:1])
