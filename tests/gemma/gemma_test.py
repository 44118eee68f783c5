"""Tests the Gemma engine: its logits beside NumPy's, ranks beside one rank, simulated GPUs beside the host, its tokenizer.

usage: gemma_test.py PROBE SIMULATED_DRIVER_FOLDER
Exit status: 0 right, 1 not, 77 skipped, for want of NumPy.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

try:
    import numpy
except ImportError:
    print("skipped: this Python has no NumPy")
    sys.exit(77)

import reference

# Of the largest logit. The engine computes in F32: its rounding errors of 6e-8 add up, over sums of a hundred numbers and
# seven layers, to 5e-7 here. The smallest of mistakes in the model, an embeddings' scale that is not rounded to BF16, costs
# 1e-3.
TOLERANCE = 5e-6

TOKENS = [2, 17, 300, 45, 99, 150, 151, 3, 8, 260, 211, 12, 12, 77, 198, 5, 1, 64, 29, 140]
PREFILLED = 13  # longer than the window; the rest comes one by one

# type, score, text: SentencePiece's types
VOCABULARY = [(3, 0, "<pad>"), (3, 0, "<eos>"), (3, 0, "<bos>"), (2, 0, "<unk>"), (3, 0, "<end_of_turn>"),
              (4, 0, "\n\n"), (4, 0, "\n"), (4, 0, "▁▁"), (4, 0, "<b>"),
              (1, -1, "he"), (1, -2, "ll"), (1, -3, "llo"), (1, -4, "hell"), (1, -5, "▁h"), (1, -6, "lo"),
              *((1, -100 - i, letter) for i, letter in enumerate("▁helo\\ä")),
              *((6, 0, f"<0x{byte:02X}>") for byte in range(256))]
ENCODED = {
    "hello": ["he", "llo"],         # "he" and "ll" are better than "lo"; then "llo" is better than "hell"
    "hell hello": ["hell", "▁", "he", "llo"],
    " h": ["▁h"],
    "  h": ["▁▁", "h"],             # a user-defined token takes its letters before any are merged
    "lo<b>lo\n\n\nl": ["lo", "<b>", "lo", "\n\n", "\n", "l"],
    "\\ä": ["\\", "ä"],
    "é€": ["<0xC3>", "<0xA9>", "<0xE2>", "<0x82>", "<0xAC>"],
    "": [],
}


def write_vocabulary(folder):
    escapes = str.maketrans({"\\": r"\\", "\n": r"\n", "\r": r"\r"})
    lines = (f"{kind} {score} {text.translate(escapes)}\n" for kind, score, text in VOCABULARY)
    (folder / "vocabulary.txt").write_text("".join(lines), encoding="utf-8")


class Gemma(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.models = {}
        for kv_heads in (1, 2):
            config = reference.config(kv_heads)
            tensors = reference.random_tensors(config, seed=kv_heads)
            path = pathlib.Path(folder.name) / f"kv{kv_heads}"
            reference.save(path, config, tensors)
            write_vocabulary(path)
            cls.models[kv_heads] = (path, reference.logits(config, tensors, TOKENS)[PREFILLED - 1:])

    def probe(self, *arguments, **environment):
        command = [PROBE, *(str(argument) for argument in arguments)]
        done = subprocess.run(command, capture_output=True, env={**os.environ, **environment})
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return done.stdout

    def engine_logits(self, kv_heads, ranks):
        path, expected = self.models[kv_heads]
        output = self.probe("logits", path, ranks, PREFILLED, *TOKENS)
        return numpy.frombuffer(output, numpy.float32).reshape(expected.shape)

    def assert_close(self, a, b):
        self.assertLessEqual(numpy.abs(a - b).max() / numpy.abs(b).max(), TOLERANCE)

    def test_logits_are_the_reference_s(self):
        for kv_heads, (_, expected) in self.models.items():
            with self.subTest(kv_heads=kv_heads):
                self.assert_close(self.engine_logits(kv_heads, ranks=1), expected)

    def test_ranks_compute_what_one_does(self):
        for kv_heads in self.models:  # two ranks share a kv head, or have one each; four share one, or two by two
            for ranks in (2, 4):
                with self.subTest(kv_heads=kv_heads, ranks=ranks):
                    self.assert_close(self.engine_logits(kv_heads, ranks), self.engine_logits(kv_heads, ranks=1))

    def test_simulated_gpus_have_the_host_s_bytes(self):
        for kv_heads, (path, _) in self.models.items():
            with self.subTest(kv_heads=kv_heads):
                on_host = self.probe("digests", path, "host", "host")
                on_gpus = self.probe("digests", path, "cuda:0", "cuda:1", LD_LIBRARY_PATH=SIMULATED_DRIVER)
                self.assertEqual(len(on_host.splitlines()), 2 * (2 + 7 * 10))
                self.assertEqual(on_gpus, on_host)

    def test_encodes(self):
        path, _ = self.models[1]
        texts = [text for _, _, text in VOCABULARY]
        for text, expected in ENCODED.items():
            with self.subTest(text=text):
                numbers = self.probe("tokens", path, text).split()
                self.assertEqual([texts[int(number)] for number in numbers], ["<bos>", *expected])


if __name__ == "__main__":
    PROBE, SIMULATED_DRIVER = sys.argv[1:]
    unittest.main(argv=sys.argv[:1])
