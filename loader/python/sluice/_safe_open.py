"""safe_open: what safetensors.safe_open is, read by sluice. Same calls, same results, same exceptions.

Tensors that follow in the file one that is asked for are read with it where that has paid before: the more of them are
taken, the more are read. Whoever asks for one here and one there has just these read.
"""

import operator
import os
import threading

from sluice import _load
from sluice import _sluice
from sluice._error import Error

_FRAMEWORKS = {"pt": "torch", "torch": "torch", "pytorch": "torch", "np": "numpy", "numpy": "numpy"}
_OTHER_FRAMEWORKS = ("tf", "tensorflow", "jax", "flax", "mlx", "paddle")
_ACCELERATORS = ("cuda", "musa", "npu", "xpu", "xla", "mlu", "hpu")

_WINDOW_BYTES_MIN = 1 << 18
_WINDOW_BYTES_MAX = 16 << 20
_WINDOW_GROWTH = 4
_NEAR = 64  # tensors: so far from the last ones that were read, others may be worth it
_AHEAD_BYTES_MAX = 64 << 20  # of tensors that wait to be asked for

_error_types = None


def _errors():
    """safetensors' exception where it is installed, else one of ours; and that one as an Error, too."""
    global _error_types
    if _error_types is None:
        try:
            from safetensors import SafetensorError
        except ImportError:

            class SafetensorError(Exception):
                """What is wrong with a file, or with what is asked of it."""

        class SafeOpenError(SafetensorError, Error):
            """What sluice found wrong, as safetensors tells it."""

        _error_types = SafetensorError, SafeOpenError
        for its in _error_types:
            if its.__module__ == __name__:
                its.__qualname__ = its.__name__  # as pickle looks for it
    return _error_types


def __getattr__(name):
    for its in _errors():
        if its.__name__ == name:
            return its
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _wrong(message):
    return _errors()[0](message)


def _retold(error, prefix=""):
    retold = _errors()[1](prefix + str(error))
    retold.__dict__.update(error.__dict__)
    return retold


def framework_of(framework):
    """"torch" or "numpy", or None for one that safetensors has and sluice has not. Raises SafetensorError for others."""
    if not isinstance(framework, str):
        raise TypeError(f"argument 'framework': '{type(framework).__name__}' object is not an instance of 'str'")
    if framework in _FRAMEWORKS:
        return _FRAMEWORKS[framework]
    if framework in _OTHER_FRAMEWORKS:
        return None
    raise _wrong(f"framework {framework} is invalid")


def device_of(device):
    """(where sluice loads to, where torch moves it then or None). Raises SafetensorError."""
    if device is None:
        return "cpu", None
    if isinstance(device, int):
        if device < 0:
            raise _wrong(f"device {device} is invalid")
        return f"cuda:{device}", None
    name = str(device)
    kind, colon, number = name.partition(":")
    if name == "cpu":
        return "cpu", None
    if kind == "mps" and (not colon or number.isdecimal()):
        if colon and int(number) != 0:
            raise _wrong(f"device {name} is invalid: only mps or mps:0 is supported")
        return "cpu", name
    if kind not in _ACCELERATORS or (colon and not number.isdecimal()):
        raise _wrong(f"device {name} is invalid")
    return (f"cuda:{int(number or 0)}", None) if kind == "cuda" else ("cpu", name)


class TensorMeta:
    """A tensor's entry in the header. data_offsets: (begin, end), in bytes, from where tensor data begin."""

    __slots__ = ("dtype", "shape", "data_offsets")

    def __init__(self, dtype, shape, data_offsets):
        self.dtype, self.shape, self.data_offsets = dtype, shape, data_offsets

    def __repr__(self):
        return f'TensorMeta {{ dtype: "{self.dtype}", shape: {self.shape}, data_offsets: {self.data_offsets} }}'


class _File:
    """An open file: shared by a safe_open and its slices, which may be used when that is closed."""

    def __init__(self, filename, framework, device):
        self.framework = framework_of(framework)
        if self.framework is None:
            raise _wrong(f"sluice has no tensors of the framework {framework}: open with \"pt\" or \"np\"")
        self.device, self.moves_to = device_of(device)
        try:
            self.checkpoint = _sluice.open(filename, 0)
        except FileNotFoundError:
            raise FileNotFoundError(f"No such file or directory: {os.fspath(filename)}") from None
        except Error as error:
            raise _retold(error, "Error while deserializing header: ") from error
        if self.framework == "numpy" and (self.device, self.moves_to) != ("cpu", None):
            name = device if isinstance(device, int) else self.moves_to or self.device
            raise _wrong(f"Device {name} is not supported for framework numpy")
        if self.framework == "torch":
            from sluice.torch import tensor as convert
        else:
            from sluice.numpy import array as convert
        self._convert = convert
        self._lock = threading.Lock()
        self._places = None  # by name, in the order of the file
        self._ahead = {}  # by name, loads of tensors that nobody has asked for yet; the oldest first
        self._ahead_bytes = 0
        self._taken = 0  # how many of them were asked for since the last window was read
        self._first = self._last = -1  # its places
        self._window = 0  # bytes that it could have

    def info(self, name):
        if not isinstance(name, str):
            raise TypeError(f"argument 'name': '{type(name).__name__}' object is not an instance of 'str'")
        found = self.checkpoint.find(name)
        if found is None:
            raise _wrong(f"File does not contain tensor {name}")
        return found

    def convert(self, tensor):
        if tensor.dtype.startswith("F6_"):
            raise _wrong(f"Dtype not understood: {tensor.dtype}")
        converted = self._convert(tensor)
        return converted if self.moves_to is None else converted.to(self.moves_to)

    def start(self, names, slices=()):
        """A load of these tensors, or of all without names; slices: of some, by name."""
        exact = _sluice.exact_pattern
        select = None if names is None else [exact(name) for name in names]
        cuts = {exact(name): slices[name] for name in slices}
        wishes = _load._wishes(self.device, None, select, cuts, None, None)
        return _load.Load(_sluice.start(self.checkpoint, wishes, False), self.checkpoint, None)

    def _window_at(self, place):
        """The places of the tensors that are read together with the one there: it, and what lies behind it, or before it
        where they are asked for backwards."""
        near = -_NEAR <= place - self._first and place - self._last <= _NEAR and self._first >= 0
        if self._taken > 0 or (near and self._window == 0):
            self._window = min(max(self._window * _WINDOW_GROWTH, _WINDOW_BYTES_MIN), _WINDOW_BYTES_MAX)
        else:
            self._window = self._window // _WINDOW_GROWTH if self._window > _WINDOW_BYTES_MIN else 0
        step = -1 if place < self._first else 1
        end, total = place + step, self._infos[place].nbytes
        while 0 <= end < len(self._infos) and self._infos[end].name not in self._ahead:
            total += self._infos[end].nbytes
            if total > self._window:
                break
            end += step
        self._taken, self._first, self._last = 0, min(place, end - step), max(place, end - step)
        return range(place, end, step)

    def _read(self, name):
        if self._places is None:
            self._infos = self.checkpoint.tensors
            self._places = {info.name: place for place, info in enumerate(self._infos)}
        window = [self._infos[place].name for place in self._window_at(self._places[name])]
        load = self.start(window)
        for each in window[1:]:
            self._ahead[each] = load
            self._ahead_bytes += self._infos[self._places[each]].nbytes
        while self._ahead_bytes > _AHEAD_BYTES_MAX:
            self._forget(next(iter(self._ahead)))
        return load

    def _forget(self, name):
        """What was read ahead, and is so no more."""
        self._ahead_bytes -= self._infos[self._places[name]].nbytes
        return self._ahead.pop(name)

    def take(self, name):
        """The tensor, read now or ahead."""
        self.info(name)
        with self._lock:
            ahead = name in self._ahead
            if ahead:
                self._taken += 1
                load = self._forget(name)
            else:
                load = self._read(name)
        try:
            return load[name]
        except Error:
            if not ahead:
                raise
        # Ctrl-C stopped what read it, or another tensor did: this one has not been tried by itself.
        return self.start([name])[name]


class _Slice:
    """A tensor to be indexed: only what is asked for is read."""

    def __init__(self, file, info):
        self._file = file
        self._info = info

    def get_shape(self):
        return list(self._info.shape)

    def get_dtype(self):
        return self._info.dtype

    def __getitem__(self, index):
        file, info = self._file, self._info
        if file.framework == "numpy":
            index = _numpy_index(index, info.shape)
        box = _box(index, info)
        try:
            if box is None:
                return file.convert(file.take(info.name))[index]
            ranges, shape = box
            if all(begin == 0 and end == size for (begin, end), size in zip(ranges, info.shape)):
                whole = file.convert(file.take(info.name))
                return whole if shape == info.shape else whole.reshape(shape)
            cut = tuple(slice(begin, end) for begin, end in ranges)
            load = file.start([info.name], {info.name: cut})
            return file.convert(load[info.name]).reshape(shape)
        except Error as error:
            raise _retold(error) from error


def _box(index, info):
    """The indices of each dimension that are wanted, as (begin, end), and the shape of the result; None where that is
    no box, or where whole tensors are simpler: packed dtypes, and nothing at all."""
    index = index if isinstance(index, tuple) else (index,)
    if len(index) > len(info.shape) or info.dtype.startswith(("F4", "F6_")):
        return None
    ranges, shape = [], []
    for its, size in zip(index, info.shape):
        if isinstance(its, slice):
            begin, end, step = its.indices(size)
            if step != 1 or end <= begin:
                return None
            shape.append(end - begin)
        elif isinstance(its, int) and not isinstance(its, bool) and -size <= its < size:
            begin = its % size
            end = begin + 1
        else:
            return None
        ranges.append((begin, end))
    rest = info.shape[len(index) :]
    if 0 in rest:
        return None
    return ranges + [(0, size) for size in rest], (*shape, *rest)


def _numpy_index(index, shape):
    """The index as NumPy takes it. Refuses what safetensors refuses, in its words, but for ranges that count from the
    end and steps, which it has none of."""
    if isinstance(index, list):
        if index:
            raise _wrong("Non empty lists are not implemented")
        return slice(0, 0)
    items = list(index) if isinstance(index, tuple) else [index]
    for place, its in enumerate(items):
        if not isinstance(its, slice) and its is not Ellipsis:
            try:
                items[place] = operator.index(its)
            except TypeError:
                raise _wrong(
                    f"Unsupported slice index at position {place}: expected slice, int, or ellipsis"
                ) from None
    if Ellipsis in items:
        at = items.index(Ellipsis)
        items[at : at + 1] = [slice(None)] * (len(shape) - len(items) + 1)
    for place, (its, size) in enumerate(zip(items, shape)):
        if not isinstance(its, slice) and its < 0:
            if its < -size:
                raise _wrong(f"Invalid index {its} for dimension {place} of size {size}")
            items[place] = its + size
    text = "[" + ", ".join(_spelt(its) for its in items) + f"] with shape {list(shape)}: "
    if len(items) > len(shape):
        raise _wrong(f"Error during slicing {text}more slicing indexes than dimensions in tensor")
    for place, (its, size) in enumerate(zip(items, shape)):
        asked = _beyond(its, size)
        if asked is not None:
            raise _wrong(
                f"Error during slicing {text}index {asked} out of bounds for tensor dimension #{place} of size {size}"
            )
    return tuple(items)


def _spelt(its):
    if not isinstance(its, slice):
        return str(its)
    return f"{'' if its.start is None else its.start}:{'' if its.stop is None else its.stop}"


def _beyond(its, size):
    """An index that `its` asks for and a dimension of that size has not; None if it has all."""
    if not isinstance(its, slice):
        return its if its >= size else None
    begin, end = its.start or 0, size if its.stop is None else its.stop
    if begin >= size and size > 0:
        return begin
    return end - 1 if end > size else None


class safe_open:  # noqa: N801, the name that it replaces
    """Opens a file lazily and gives tensors as they are asked for.

    filename: a path. framework: "pt" or "np". device: "cpu", and for "pt" what torch has: GPUs are loaded to directly.
    backend is accepted for the sake of safetensors, and means nothing. Raises FileNotFoundError, SafetensorError.
    """

    def __init__(self, filename, framework, device="cpu", *, backend="mmap"):
        os.fspath(filename)
        if backend not in ("mmap", "pread"):
            raise _wrong(f'backend "{backend}" is invalid (expected one of: "mmap", "pread")')
        self._file = _File(filename, framework, device)

    def _open(self):
        if self._file is None:
            raise _wrong("File is closed")
        return self._file

    def keys(self):
        """The names of the tensors, sorted."""
        return sorted(self._open().checkpoint.names)

    def offset_keys(self):
        """The names of the tensors, by offset."""
        return self._open().checkpoint.names

    def metadata(self):
        """The header's "__metadata__"; None where there is none."""
        shards = self._open().checkpoint.shards
        return (shards[0].metadata if shards else None) or None

    def get_tensor(self, name):
        """A whole tensor."""
        file = self._open()
        try:
            return file.convert(file.take(name))
        except Error as error:
            raise _retold(error) from error

    def get_tensors(self):
        """All tensors by name, in the order of the file, read as one load."""
        file = self._open()
        try:
            load = file.start(None)
            return {name: file.convert(tensor) for name, tensor in load.items()}
        except Error as error:
            raise _retold(error) from error

    def get_slice(self, name):
        """A tensor to index: only what is asked for is read."""
        file = self._open()
        return _Slice(file, file.info(name))

    def get_tensor_meta(self, name):
        """The tensor's TensorMeta."""
        file = self._open()
        info = file.info(name)
        begin = info.offset - file.checkpoint.shards[info.shard].data_offset
        return TensorMeta(info.dtype, list(info.shape), (begin, begin + info.nbytes))

    def prefetch(self, plan=None, *, device=None, threads=8):
        """Starts to load tensors: a PrefetchLoader. plan: names, each with None or a slice of the outermost dimension.
        `threads` is accepted for the sake of safetensors, and means nothing."""
        from sluice._prefetch import PrefetchLoader

        return PrefetchLoader(self._open(), plan, device)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file = None
