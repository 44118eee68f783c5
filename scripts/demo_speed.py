"""Loads a checkpoint in shards cold and warm, in turns with what the machine itself is capable of, and prints a table.

usage: demo_speed.py BUILD FOLDER [BYTES]

Cold: nothing of it in the page cache, which is asked before each run. The limit: fio's direct reads with io_uring, into
huge pages. Warm: all of it in the page cache. The limit: two threads of pread into fresh huge pages. Whoever was best in
the run, the limit or sluice, is 100 %. bench/measuring.py says how it is measured.
"""

import functools
import json
import os
import pathlib
import shutil
import sys

import demo_checkpoint

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "bench"))
import measuring  # noqa: E402

ROUNDS = 3


def show(title, rows):
    best = max(row.rate for row in rows.values())
    print(f"   {title:<52} {'GB/s':>6} {'of the best':>12} {'CPU s/GB':>9}")
    for name, row in rows.items():
        print(f"     {name:<50} {row.rate:>6.2f} {row.rate / best:>10.0%} {row.cpu:>11.3f}")
    print()


def main():
    build, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    tool = build / "sluice"
    # Twice the checkpoint in memory (page cache and tensors) must not make the machine swap or drop the cache.
    size = int(sys.argv[3]) if len(sys.argv) > 3 else min(2 << 30, measuring.available_memory() // 4)
    checkpoint = folder / f"checkpoint-{size >> 20}MiB"
    if not checkpoint.exists():
        if shutil.disk_usage(folder).free < 2 * size:
            sys.exit(f"demo: {folder} has too little room for a checkpoint of {size / 1e9:.1f} GB")
        # Of another size, made by an earlier run. What others call a checkpoint stays.
        for old in folder.glob("checkpoint-*MiB"):
            if demo_checkpoint.is_made(old):
                shutil.rmtree(old)
    demo_checkpoint.make(checkpoint, size)
    files = sorted(checkpoint.glob("*.safetensors"))
    size = sum(map(os.path.getsize, files))
    sluice = lambda *options: measuring.sluice(tool, checkpoint, *options)["stats"]  # noqa: E731

    print(f"4. Load a checkpoint of {size / 1e9:.2f} GB in {len(files)} shards, beside the machine's limit\n")
    print(f"   {measuring.machine()}; medians of {ROUNDS}, in turns\n")

    make_cold = functools.partial(measuring.make_cold, files)
    if make_cold():
        limits = {f"fio: direct io_uring, {text}": functools.partial(measuring.fio, files, block, depth)
                  for text, block, depth in (("1 MiB x 16", "1M", 16), ("4 MiB x 16", "4M", 16))}
        try:
            measuring.fio(files, "4M", 4)
        except measuring.Failed as refused:
            print(f"   fio cannot use io_uring here ({str(refused).splitlines()[-1]}); its limit is measured with psync\n")
            limits = {"fio: direct pread, 4 MiB": functools.partial(measuring.fio, files, "4M", 1, "psync")}
        show("cold: nothing in the page cache", measuring.measure({
            **limits,
            "sluice, storage alone (--device null)": lambda: sluice("--device", "null"),
            "sluice, into memory": sluice,
        }, make_cold, size, ROUNDS))
    else:
        print("   The page cache does not let go of these files: no cold figures.\n")

    make_warm = functools.partial(measuring.make_warm, files)
    if make_warm():
        pread = [build / "bench/bench_cold_start_pread", 4 << 20, 2, *files]
        show("warm: all of it in the page cache", measuring.measure({
            "two threads of pread into fresh huge pages": lambda: json.loads(measuring.run(pread)),
            "sluice, into memory": sluice,
        }, make_warm, size, ROUNDS))
    else:
        print("   The page cache does not keep all of these files: no warm figures.\n")

    loaded = measuring.sluice(tool, checkpoint, "--digest", "sha256")
    digests = json.loads((checkpoint / demo_checkpoint.DIGESTS).read_text())
    right = {tensor["name"]: tensor["digest"] for tensor in loaded["tensors"]} == digests
    print(f"   All {len(digests)} tensors arrived as they were written." if right else "   WRONG: a tensor differs.")
    for fallback in loaded["stats"]["fallbacks"]:
        print(f"   note: {fallback['what']}: {fallback['reason']}")
    return 0 if right else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except measuring.Failed as failed:
        sys.exit(f"demo: {failed}")
