"""Loads a checkpoint into host memory by the Python package, each tensor in order of arrival; prints JSON. Seconds are from
the first line to the last tensor, as those of safetensors_load.py. What there is of a budget is let go of as it comes.

usage: sluice_load.py CHECKPOINT [BUDGET]
"""

import time

start, cpu = time.perf_counter(), time.process_time()

import json  # noqa: E402
import sys  # noqa: E402

import sluice  # noqa: E402
from own_process import peak_resident_bytes  # noqa: E402

budget = int(sys.argv[2]) if len(sys.argv) > 2 else None
load = sluice.load(sys.argv[1], budget=budget)
size = 0
taken = []
for name, tensor in load:
    size += tensor.nbytes
    if budget is None:
        taken.append(tensor)
load.wait()
seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu

print(json.dumps({"bytes": size, "seconds": seconds, "cpu_seconds": cpu_seconds,
                  "peak_resident_bytes": peak_resident_bytes()}))
