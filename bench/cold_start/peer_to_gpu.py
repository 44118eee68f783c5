"""Other people's loaders, onto the first GPU: every tensor there to stay, and ready for use. Python's start and the
imports are not counted; the start of CUDA is, and by itself, as with sluice.

usage: peer_to_gpu.py safetensors|fastsafetensors|instanttensor|runai FILE...
"""

import json
import resource
import sys
import time

import torch
from own_process import peak_resident_bytes

DEVICE = "cuda:0"


def with_safetensors(paths):
    from safetensors.torch import load_file

    def load():
        tensors = {}
        for path in paths:
            tensors.update(load_file(path, device=DEVICE))
        return tensors
    return load


def with_fastsafetensors(paths):
    from fastsafetensors import fastsafe_open

    def load():
        # nogds: GPUDirect Storage needs a kernel module that few machines have. Tensors keep their buffers alive.
        with fastsafe_open(paths, nogds=True, device=DEVICE) as files:
            return {name: files.get_tensor(name) for name in files.keys()}
    return load


def with_instanttensor(paths):
    from instanttensor import safe_open

    def load():
        with safe_open(paths, framework="pt", device=0) as files:
            return dict(files.tensors())
    return load


def with_runai(paths):
    from runai_model_streamer import SafetensorsStreamer

    def load():
        with SafetensorsStreamer() as streamer:
            streamer.stream_files(paths)
            return {name: tensor.to(DEVICE) for name, tensor in streamer.get_tensors()}
    return load


def main():
    load = globals()[f"with_{sys.argv[1]}"](sys.argv[2:])
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    torch.zeros(1, device=DEVICE)
    torch.cuda.synchronize()
    started = time.perf_counter()
    tensors = load()
    torch.cuda.synchronize()
    end = time.perf_counter()
    after = resource.getrusage(resource.RUSAGE_SELF)
    away = [name for name, tensor in tensors.items() if str(tensor.device) != DEVICE]
    if away:
        sys.exit(f"{away[0]} is not on {DEVICE}")
    print(json.dumps({
        "bytes": sum(tensor.nbytes for tensor in tensors.values()),
        "seconds": end - start,
        "phases": {"load": end - started},
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_resident_bytes": peak_resident_bytes(),
    }))


if __name__ == "__main__":
    main()
