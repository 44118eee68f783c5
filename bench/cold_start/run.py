"""What sluice makes of this machine: storage alone, into memory, within a budget, with casts, beside the limit for each,
all in one run; a table in Markdown. race.py has other people's loaders.

usage: run.py BUILD FOLDER [--bytes 4294967296] [--rounds 5] [--only TEXT]...

BUILD is a release build of sluice; the checkpoints (four shards: BF16, F32, many small tensors) are made in FOLDER. See
bench/measuring.py for how it measures. Seconds are a process's own, from its first line (sluice: from the beginning of
open; Python: once the package is imported) to the last byte in memory.
"""

import argparse
import functools
import json
import os
import pathlib
import sys

root = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(root / "bench"), str(root / "scripts")]
import demo_checkpoint  # noqa: E402
import measuring  # noqa: E402


# What fio is asked for to be at its best: which of them is, differs from disk to disk.
FIO = (("256k", 16), ("256k", 32), ("512k", 8), ("512k", 16), ("1M", 8), ("1M", 16), ("4M", 4))
SMALL_TENSORS = 21507


class Bench:
    def __init__(self, build, rounds, only):
        self.build, self.rounds, self.only = build, rounds, only

    def bare(self, name, files, *options):
        command = [self.build / f"bench/bench_cold_start_{name}", *options, *files]
        return lambda: json.loads(measuring.run(command))

    def sluice(self, checkpoint, *options):
        return lambda: measuring.sluice(self.build / "sluice", checkpoint, *options)["stats"]

    def python(self, files, *options):
        command = [sys.executable, root / "bench/cold_start/load_with.py", "sluice", *options, *files]
        return lambda: json.loads(measuring.run(command, {"PYTHONPATH": str(self.build / "python")}))

    def show(self, title, contenders, prepare, memory_bytes):
        contenders = {name: run for name, run in contenders.items()
                      if not self.only or any(text in f"{title}: {name}" for text in self.only)}
        if not contenders:
            return
        rows = measuring.measure(contenders, prepare, memory_bytes, self.rounds)
        best = max(row.rate for row in rows.values())
        print(f"## {title}\n\n| contender | GB/s | least to most | of the best | CPU s/GB | peak resident MiB |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        for name, row in rows.items():
            resident = f"{row.resident / 2**20:.0f}" if row.resident else ""
            print(f"| {name} | {row.rate:.2f} | {row.least:.2f} to {row.most:.2f} | {row.rate / best:.2f} | "
                  f"{row.cpu:.4f} | {resident} |")
        print(flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--bytes", type=int, default=4 << 30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append")
    asked = parser.parse_args()
    bench = Bench(asked.build, asked.rounds, asked.only)
    checkpoints, files, size = {}, {}, {}
    for dtype in ("BF16", "F32"):
        checkpoints[dtype] = asked.folder / f"{dtype.lower()}-{asked.bytes >> 20}MiB"
        demo_checkpoint.make(checkpoints[dtype], asked.bytes, dtype)
        files[dtype] = sorted(checkpoints[dtype].glob("*.safetensors"))
        size[dtype] = sum(map(os.path.getsize, files[dtype]))
    print(f"{measuring.machine()}; {size['BF16'] / 1e9:.2f} GB in {len(files['BF16'])} shards; "
          f"medians of {asked.rounds}, in turns\n")

    small = asked.folder / f"small-{SMALL_TENSORS}"
    demo_checkpoint.make_small(small, SMALL_TENSORS)
    small_shards = sorted(small.glob("*.safetensors"))

    shards = files["BF16"]
    cold = functools.partial(measuring.make_cold, shards)
    small_cold = functools.partial(measuring.make_cold, small_shards)
    bf16 = checkpoints["BF16"]
    for title, checkpoint, its_shards, make_cold in (
            ("Storage alone, cold", bf16, shards, cold),
            (f"Storage alone, cold, {SMALL_TENSORS} tensors", small, small_shards, small_cold)):
        bench.show(title, {
            **{f"fio: direct io_uring, {block} x {depth}": functools.partial(measuring.fio, its_shards, block, depth)
               for block, depth in FIO},
            "sluice --device null": bench.sluice(checkpoint, "--device", "null"),
            "sluice --device null --slab 1MiB": bench.sluice(checkpoint, "--device", "null", "--slab", "1MiB"),
            "sluice --device null --slab 2MiB": bench.sluice(checkpoint, "--device", "null", "--slab", "2MiB"),
        }, make_cold, 1 << 30)
    for state, prepare in (("cold", cold), ("warm", lambda: measuring.make_warm(shards))):
        bench.show(f"Into memory, within a budget, and from Python, {state}", {
            "sluice --device null": bench.sluice(bf16, "--device", "null"),
            "sluice --device null --budget 1GiB": bench.sluice(bf16, "--device", "null", "--budget", "1GiB"),
            "sluice": bench.sluice(bf16),
            "sluice --budget 1GiB": bench.sluice(bf16, "--budget", "1GiB"),
            "sluice (Python)": bench.python(shards),
            "sluice (Python), a budget of 1 GiB": bench.python(shards, "--pass-on", f"--set=budget={1 << 30}"),
        }, prepare, 5 * size["BF16"] // 4)
    bench.show("Cast while loading BF16, cold", {
        "the limit of to F32: direct reads into slabs, beside two threads that fill twice as much":
            bench.bare("direct", shards, 4 << 20, 16, 2),
        "as it is": bench.sluice(bf16),
        "to F32": bench.sluice(bf16, "--dtype", "F32"),
    }, cold, 9 * size["BF16"] // 4)
    f32 = checkpoints["F32"]
    bench.show("Cast while loading F32, cold", {
        "the limit of to BF16: direct reads into slabs, beside two threads that fill half as much":
            bench.bare("direct", files["F32"], 4 << 20, 16, 0.5),
        "as it is": bench.sluice(f32),
        "to BF16": bench.sluice(f32, "--dtype", "BF16"),
        "to F8_E4M3": bench.sluice(f32, "--dtype", "F8_E4M3"),
    }, functools.partial(measuring.make_cold, files["F32"]), 5 * size["F32"] // 4)


if __name__ == "__main__":
    try:
        main()
    except measuring.Failed as failed:
        sys.exit(f"cold_start: {failed}")
