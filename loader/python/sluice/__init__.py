"""Loads model weights from storage into host and device memory.

    for name, tensor in sluice.load("/models/llama", device="cuda:0"):
        ...

docs/python.md has the guide. torch, numpy and safetensors are imported only by what hands out their objects.
"""

from sluice import _sluice
from sluice._error import Error
from sluice._load import Load, configure, load, open

Checkpoint = _sluice.Checkpoint
Progress = _sluice.Progress
Shard = _sluice.Shard
Tensor = _sluice.Tensor
TensorInfo = _sluice.TensorInfo

__version__ = _sluice.version
__all__ = [
    "Checkpoint", "Error", "Load", "Progress", "Shard", "Tensor", "TensorInfo", "configure", "get_cmake_dir", "get_include",
    "load", "open", "patch", "safe_open",
]


def get_include():
    """The folder of the headers for C and C++, in an installed package."""
    return __path__[0] + "/include"


def get_cmake_dir():
    """The folder that CMake's find_package(sluice) takes as sluice_DIR, in an installed package."""
    return __path__[0] + "/lib/cmake/sluice"


def __getattr__(name):
    if name == "safe_open":
        from sluice._safe_open import safe_open as found
    elif name == "patch":
        from sluice._patch import patch as found
    elif name in ("torch", "numpy"):
        import importlib

        found = importlib.import_module("sluice." + name)
    else:
        raise AttributeError(f"module 'sluice' has no attribute '{name}'")
    globals()[name] = found
    return found
