"""Tensors as NumPy arrays: views of sluice's memory, without a copy."""

import numpy

from sluice import _load

_NUMPY = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F16": "float16", "F32": "float32", "F64": "float64", "C64": "complex64",
}
# NumPy has none of these by itself: the package ml_dtypes adds them.
_ML_DTYPES = {
    "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}


def dtype_of(name):
    """NumPy's dtype of the safetensors name. Raises TypeError where neither NumPy nor ml_dtypes has it."""
    if name in _NUMPY:
        return numpy.dtype(_NUMPY[name])
    if name in _ML_DTYPES:
        try:
            import ml_dtypes
        except ImportError:
            raise TypeError(f"NumPy has no {name}: install ml_dtypes, which adds it") from None
        return numpy.dtype(getattr(ml_dtypes, _ML_DTYPES[name]))
    raise TypeError(f"NumPy has no {name}: take its bytes by memoryview(tensor)")


def array(tensor):
    """The array of a tensor on the host. It holds the tensor's memory, and may be written to."""
    dtype = dtype_of(tensor.dtype)
    if tensor.nbytes == 0:
        return numpy.empty(tensor.shape, dtype)
    return numpy.frombuffer(tensor, dtype).reshape(tensor.shape)


def load_file(filename):
    """All tensors of a file as a dictionary of arrays by name, as safetensors.numpy.load_file gives it. `filename` may
    also be a folder of shards or an index."""
    with _load.load(filename) as load:
        return {name: array(tensor) for name, tensor in load.items()}
