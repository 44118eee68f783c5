"""The contender of open.cpp: the reference package opens the same shards and lists their names, one shard after the other.

Usage: reference.py FOLDER [RUNS]
"""

import pathlib
import statistics
import sys
import time

from safetensors import safe_open

shards = sorted(pathlib.Path(sys.argv[1]).glob("*.safetensors"))
times = []
for _ in range((int(sys.argv[2]) if len(sys.argv) > 2 else 7) + 1):
    begin = time.perf_counter()
    names = 0
    for shard in shards:
        with safe_open(shard, framework="numpy") as file:
            names += len(file.keys())
    times.append(time.perf_counter() - begin)
times = sorted(times[1:])
print(f"{names} tensors, {len(shards)} shards: {statistics.median(times) * 1e3:.1f} ms ({times[0] * 1e3:.1f} to {times[-1] * 1e3:.1f})")
