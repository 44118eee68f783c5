"""Tensors as torch has them: views of sluice's memory, without a copy, each with a storage of its own."""

import torch

from sluice import _load

_from_dlpack = torch.from_dlpack


def tensor(source):
    """The torch.Tensor of a tensor on the host or a GPU. It holds the tensor's memory. F4 becomes float4_e2m1fn_x2, whose
    last dimension counts pairs."""
    return _from_dlpack(source)


def load_file(filename, device="cpu", **options):
    """All tensors of a file as a dictionary by name, as safetensors.torch.load_file gives it. `filename` may also be a
    folder of shards or an index; `options` are those of sluice.load()."""
    options.pop("backend", None)  # how safetensors would read
    with _load.load(filename, device, **options) as load:
        return {name: _from_dlpack(its) for name, its in load.items()}
