"""Tensors as torch has them: views of sluice's memory, without a copy, each with a storage of its own."""

import torch

from sluice import _load

_from_dlpack = torch.from_dlpack
_HOST = 1  # DLPack's number of it


def tensor(source):
    """The torch.Tensor of a tensor on the host or a GPU. It holds the tensor's memory. F4 becomes float4_e2m1fn_x2, whose
    last dimension counts pairs."""
    # On the host there is no stream that torch would have to name: a capsule spares it the asking, half of the time.
    return _from_dlpack(source.__dlpack__() if source.__dlpack_device__()[0] == _HOST else source)


def load_file(filename, device="cpu", **options):
    """All tensors of a file as a dictionary by name, as safetensors.torch.load_file gives it. `filename` may also be a
    folder of shards or an index; `options` are those of sluice.load()."""
    options.pop("backend", None)  # how safetensors would read
    with _load.load(filename, device, **options) as load:
        # All of them have arrived, so that no stream has to wait for one.
        return {name: _from_dlpack(its.__dlpack__()) for name, its in load.items()}
