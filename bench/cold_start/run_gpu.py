"""Cold and warm starts of a checkpoint onto the first GPU, sluice beside other people's loaders, all in one run; a table
in Markdown. Storage and link by themselves: scripts/gpu-check.

usage: run_gpu.py TOOL FOLDER [--bytes 4294967296] [--rounds 3]

TOOL is the sluice program; the checkpoint (four shards, BF16) is made in FOLDER. Loaders that are not installed for this
Python are left out, and so is one that fails. See bench/measuring.py for how it measures. All start from nothing:
seconds count from the opening of the checkpoint, but for Python's start and imports, with the start of CUDA.
"""

import argparse
import functools
import pathlib
import statistics
import sys

root = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(root / "bench"), str(root / "scripts")]
import demo_checkpoint  # noqa: E402
import measuring  # noqa: E402

PEERS = ("safetensors", "fastsafetensors", "instanttensor", "runai")


def sluice(tool, checkpoint, *options):
    return measuring.sluice(tool, checkpoint, "--device", "cuda:0", *options)["stats"]


def peer(name, checkpoint, *options):
    shards = sorted(checkpoint.glob("*.safetensors"))
    program = root / "bench/cold_start/load_with.py"
    return measuring.start([sys.executable, program, name, "--device", "cuda:0", *options, *shards])


def that_work(contenders, small):
    """Those that load a small checkpoint, the peers with all of its bytes; the others are told with the reason."""
    working = {}
    for name, load in contenders.items():
        try:
            load(small, *(["--prove"] if name in PEERS else []))
            working[name] = load
        except measuring.Failed as failed:
            print(f"- {name} is left out: {str(failed).splitlines()[-1]}\n", flush=True)
    return working


def show(title, contenders, checkpoint, prepare, rounds):
    runs = {name: functools.partial(load, checkpoint) for name, load in contenders.items()}
    rows = measuring.measure(runs, prepare, 1 << 30, rounds)
    print(f"## {title}\n\n| | GB/s | least to most | load alone, GB/s | seconds | CPU s/GB | peak resident MiB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, row in rows.items():
        alone = statistics.median(run["bytes"] / run["phases"]["load"] / 1e9 for run in row.runs)
        print(f"| {name} | {row.rate:.2f} | {row.least:.2f} to {row.most:.2f} | {alone:.2f} | {row.seconds:.2f} | "
              f"{row.cpu:.3f} | {row.resident / 2**20:.0f} |")
    print(flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tool", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--bytes", type=int, default=4 << 30)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    small = asked.folder / "small"
    demo_checkpoint.make(small, 16 << 20)
    checkpoint = asked.folder / f"bf16-{asked.bytes >> 20}MiB"
    demo_checkpoint.make(checkpoint, asked.bytes)
    files = sorted(checkpoint.glob("*.safetensors"))
    size = sum(file.stat().st_size for file in files)
    print(f"{measuring.machine()}; {size / 1e9:.2f} GB in {len(files)} shards; medians of {asked.rounds}, in turns\n")

    contenders = that_work({
        "sluice": functools.partial(sluice, asked.tool),
        "sluice, to F32": lambda path: sluice(asked.tool, path, "--dtype", "F32"),
        **{name: functools.partial(peer, name) for name in PEERS},
    }, small)
    show("Warm", contenders, checkpoint, lambda: measuring.make_warm(files), asked.rounds)
    show("Cold", contenders, checkpoint, lambda: measuring.make_cold(files), asked.rounds)


if __name__ == "__main__":
    try:
        main()
    except measuring.Failed as failed:
        sys.exit(f"run_gpu: {failed}")
