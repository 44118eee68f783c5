"""What does it cost to hand a tensor over to torch, on the host, in one thread? Microseconds a tensor, of each way that there
is, beside what torch takes for an empty tensor of its own; and of a whole load_file of so many tensors, whose bytes are
next to nothing.

The ways take turns, in short rounds. Rounds during which this thread was kept waiting for a processor do not count (its
processor time is below 95 % of the time that went by): medians are of the rest. Each way is checked first: the number in
every tensor must be its own.

usage: torch_tensors.py [ROUNDS]                     PYTHONPATH=build/release/python, with torch and safetensors installed
"""

import array
import gc
import json
import pathlib
import statistics
import struct
import sys
import tempfile
import time

import safetensors.torch
import torch

import sluice
import sluice.torch

TENSORS = 500
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 300


def write(path):
    header = json.dumps({f"layers.{i}.weight": {"dtype": "I32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]}
                         for i in range(TENSORS)}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + array.array("i", range(TENSORS)).tobytes())


def ways(path, tensors):
    """By name: what gives all of them as torch has them."""
    capsule, from_dlpack, tensor = sluice.Tensor.__dlpack__, torch.from_dlpack, sluice.torch.tensor
    return {
        "torch.empty(1)": lambda: [torch.empty(1) for _ in tensors],
        "tensor.__dlpack__()": lambda: [capsule(its) for its in tensors],
        "tensor.__dlpack__(max_version=(1, 0))": lambda: [capsule(its, max_version=(1, 0)) for its in tensors],
        "torch.from_dlpack(tensor)": lambda: [from_dlpack(its) for its in tensors],
        "sluice.torch.tensor(tensor)": lambda: [tensor(its) for its in tensors],
        "sluice.torch.load_file": lambda: list(sluice.torch.load_file(path).values()),
        "safetensors.torch.load_file": lambda: list(safetensors.torch.load_file(path).values()),
    }


def timed(way):
    """Microseconds a tensor, and whether the round counts."""
    start, cpu = time.perf_counter(), time.thread_time()
    given = way()  # goes after the clock has been read
    seconds, cpu_seconds = time.perf_counter() - start, time.thread_time() - cpu
    del given
    return seconds / TENSORS * 1e6, cpu_seconds > 0.95 * seconds


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "small.safetensors"
        write(path)
        its = dict(sluice.load(path))
        all_ways = ways(path, [its[f"layers.{i}.weight"] for i in range(TENSORS)])
        rounds = {name: [] for name in all_ways}
        for name, way in all_ways.items():
            given = way()
            if isinstance(given[0], torch.Tensor) and "empty" not in name:
                assert [int(one) for one in given] == list(range(TENSORS)), name
            del given
        gc.collect()
        gc.disable()
        for _ in range(ROUNDS):
            for name, way in all_ways.items():
                microseconds, quiet = timed(way)
                if quiet or name == "sluice.torch.load_file":  # which waits for threads of its own
                    rounds[name].append(microseconds)
    print(f"{TENSORS} tensors of 4 bytes, torch {torch.__version__}, safetensors {safetensors.__version__}")
    print(f"{'us a tensor':40} {'median':>8} {'least':>8} {'rounds':>8}")
    for name, its in rounds.items():
        told = f"{statistics.median(its):8.2f} {min(its):8.2f}" if its else f"{'-':>8} {'-':>8}"
        print(f"{name:40} {told} {len(its):8}")


main()
