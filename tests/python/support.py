"""Checkpoints for the tests of the Python package, written without anybody's library, and processes to try things in."""

import hashlib
import json
import os
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import textwrap
import unittest

TIMEOUT_S = 240

# Bits of an element of each dtype.
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64, "F16": 16, "BF16": 16,
    "F32": 32, "F64": 64, "C64": 64, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}


def noise(seed, size):
    return hashlib.shake_128(str(seed).encode()).digest(size)


def elements(shape):
    count = 1
    for size in shape:
        count *= size
    return count


def content(name, dtype, shape):
    data = noise(name, elements(shape) * BITS[dtype] // 8)
    return bytes(byte & 1 for byte in data) if dtype == "BOOL" else data


def header_of(tensors, metadata=None):
    """tensors: (name, dtype, shape) in the order of the file. Returns the header and the length of the data."""
    entries, end = {} if metadata is None else {"__metadata__": metadata}, 0
    for name, dtype, shape in tensors:
        size = elements(shape) * BITS[dtype] // 8
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text, end


def write_shard(path, tensors, metadata=None):
    with open(path, "wb") as file:
        file.write(header_of(tensors, metadata)[0])
        for name, dtype, shape in tensors:
            file.write(content(name, dtype, shape))


LAST = "t4095"  # of an endless checkpoint's tensors


def write_endless(path):
    """A file of a tebibyte, all of it a hole: what loads it onto the null device is still at it when it is stopped."""
    header, length = header_of([(f"t{i}", "U8", [1 << 28]) for i in range(4096)])
    with open(path, "wb") as file:
        file.write(header)
        file.truncate(len(header) + length)


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="sluice-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def shard(self, tensors, name="model.safetensors", metadata=None):
        path = self.folder / name
        write_shard(path, tensors, metadata)
        return path

    def endless(self):
        path = self.folder / "endless.safetensors"
        write_endless(path)
        return path

    def start(self, script, *arguments, **environment):
        """A process that runs the script, which has `sys`, `sluice` and its arguments in sys.argv."""
        text = "import sys\nimport sluice\n" + textwrap.dedent(script)
        return subprocess.Popen(
            [sys.executable, "-c", text, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})

    def finish(self, process, status=0):
        """What it said. It must end by itself, with that status."""
        try:
            said, errors = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            self.fail("it does not end")
        if status is not None:
            self.assertEqual(process.returncode, status, errors)
        return said, errors

    def run_script(self, script, *arguments, status=0, **environment):
        return self.finish(self.start(script, *arguments, **environment), status)
