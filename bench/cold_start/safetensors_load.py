"""safetensors' own load_file into NumPy arrays that own their memory. Python's start and the imports are not counted.

usage: safetensors_load.py mmap|pread FILE...
"""

import json
import resource
import sys
import time

import ml_dtypes  # noqa: F401 - teaches NumPy bfloat16
from own_process import peak_resident_bytes
from safetensors.numpy import load_file


def main():
    backend, *paths = sys.argv[1:]
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    tensors = {}
    for path in paths:
        tensors.update(load_file(path, backend=backend))
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({
        "bytes": sum(tensor.nbytes for tensor in tensors.values()),
        "seconds": seconds,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_resident_bytes": peak_resident_bytes(),
    }))


if __name__ == "__main__":
    main()
