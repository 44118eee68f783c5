"""Loads a checkpoint by one of the loaders that Python has and prints a line of JSON once every tensor is in hand. Its
seconds count neither Python's start nor imports; whoever starts this process can time the whole. The start of CUDA
counts, and is also told by itself, as with sluice.

usage: load_with.py LOADER [--device cpu] [--set NAME=VALUE]... [--pass-on] [--prove] SHARD...

LOADER is the name of a function below, and what is set are its arguments. With --pass-on, tensors are let go of as they
come. With --prove, this ends badly unless every tensor has the digest in digests.json beside the shards, and memory of
its own: a mapping of the file is the page cache, not a loaded tensor.
"""

import argparse
import hashlib
import json
import pathlib
import sys
import time

# Each imports what it needs, and returns a function that gives names and tensors. Those that import torch only when they
# load import it here, so that its time counts likewise for all.


def safetensors(paths, device, clone=False, **options):
    from safetensors.torch import load_file

    def load():
        for path in paths:
            for name, tensor in load_file(path, device=device, **options).items():
                yield name, tensor.clone() if clone else tensor
    return load


def safetensors_prefetch(paths, device, **options):
    import torch  # noqa: F401
    from safetensors import safe_open

    def load():
        for path in paths:
            with safe_open(path, framework="pt", device=device) as file:
                yield from file.prefetch(device=device, **options)
    return load


def cattensors(paths, device, **options):
    import cattensors
    cattensors.patch()
    return safetensors(paths, device, **options)


def fastsafetensors(paths, device, **options):
    import torch  # noqa: F401
    from fastsafetensors import SafeTensorsFileLoader

    def load():
        # nogds: GPUDirect Storage needs a kernel module that few machines have. Tensors keep their buffers alive.
        loader = SafeTensorsFileLoader(None, device, nogds=True, **options)
        loader.add_filenames({0: paths})
        files = loader.copy_files_to_device()
        yield from ((name, files.get_tensor(name)) for name in list(files.key_to_rank_lidx))
        files.close()
        loader.close()
    return load


def instanttensor(paths, device, **options):
    from instanttensor import safe_open

    def load():
        with safe_open(paths, framework="pt", device=device, **options) as files:
            yield from files.tensors()
    return load


def runai(paths, device):
    from runai_model_streamer import SafetensorsStreamer

    def load():
        with SafetensorsStreamer() as streamer:
            streamer.stream_files(paths)
            yield from ((name, tensor.to(device)) for name, tensor in streamer.get_tensors())
    return load


def sluice(paths, device, **options):
    import sluice

    def load():
        yield from sluice.load(pathlib.Path(paths[0]).parent, device, **options)
    return load


def sluice_torch(paths, device, **options):
    import sluice.torch

    def load():
        yield from sluice.torch.load_file(pathlib.Path(paths[0]).parent, device, **options).items()
    return load


LOADERS = {loader.__name__: loader for loader in (safetensors, safetensors_prefetch, cattensors, fastsafetensors,
                                                  instanttensor, runai, sluice, sluice_torch)}


def setting(text):
    """NAME=VALUE, VALUE being JSON or a word."""
    name, value = text.split("=", 1)
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def synchronize(device):
    """For torch's sake; sluice by itself hands over only what has arrived."""
    if device != "cpu" and "torch" in sys.modules:
        torch = sys.modules["torch"]
        torch.zeros(1, device=device)
        torch.cuda.synchronize()


def peak_resident_bytes():
    """Of this program alone: ru_maxrss would include the process that started it."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def bytes_of(tensor):
    if type(tensor).__module__.startswith("sluice"):
        return memoryview(tensor).cast("B") if tensor.nbytes else b""
    return tensor.reshape(-1).view(sys.modules["torch"].uint8).cpu().numpy()


def address_of(tensor):
    return tensor.data_ptr() if callable(tensor.data_ptr) else tensor.data_ptr


def mapped_files():
    """(first address, address after the last, file) of every mapping of a file."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            span, *_, name = line.split(maxsplit=5)
            if name.startswith("/"):
                yield *(int(end, 16) for end in span.split("-")), name.strip()


def fault(tensors, device, digests):
    """What is wrong with the tensors, or None."""
    if tensors.keys() != digests.keys():
        return f"{len(tensors)} tensors came, {len(digests)} were written"
    files = list(mapped_files())
    for name, tensor in tensors.items():
        address = address_of(tensor)
        file = next((file for first, end, file in files if first <= address < end), None)
        if device == "cpu" and file:
            return f"{name} is a mapping of {pathlib.Path(file).name}, not memory of its own"
        if device != "cpu" and str(tensor.device) != device:
            return f"{name} is not on {device}"
        if hashlib.sha256(bytes_of(tensor)).hexdigest() != digests[name]:
            return f"{name} does not have the bytes that were written"
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("loader", choices=LOADERS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--set", type=setting, action="append", default=[])
    parser.add_argument("--pass-on", action="store_true")
    parser.add_argument("--prove", action="store_true")
    parser.add_argument("shards", nargs="+")
    asked = parser.parse_args()
    load = LOADERS[asked.loader](asked.shards, asked.device, **dict(asked.set))

    cpu, start = time.process_time(), time.perf_counter()
    synchronize(asked.device)
    started = time.perf_counter()
    tensors, size = {}, 0
    for name, tensor in load():
        size += tensor.nbytes
        if not asked.pass_on:
            tensors[name] = tensor
    synchronize(asked.device)
    end, cpu_end = time.perf_counter(), time.process_time()
    print(json.dumps({
        "bytes": size,
        "seconds": end - start,
        "phases": {"load": end - started},
        "cpu_seconds": cpu_end - cpu,
        "peak_resident_bytes": peak_resident_bytes(),
    }), flush=True)
    if asked.prove:
        digests = json.loads((pathlib.Path(asked.shards[0]).parent / "digests.json").read_text())
        sys.exit(fault(tensors, asked.device, digests))


if __name__ == "__main__":
    main()
