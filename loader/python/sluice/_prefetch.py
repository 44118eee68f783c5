"""PrefetchLoader: what safe_open.prefetch() gives."""

import copy
import threading

from sluice._error import Error
from sluice._safe_open import _retold, _wrong, device_of


class PrefetchLoader:
    """Tensors that are being loaded. Each is handed out once, by take() or by iterating, and keeps its memory. Tensors
    are complete when they are handed out. May be used by several threads."""

    def __init__(self, file, plan, device):
        if file.framework != "torch":
            raise _wrong('prefetch is only compatible with framework="pt"')
        self._file = file
        if device is not None:
            self._file = copy.copy(file)
            self._file.device, self._file.moves_to = device_of(device)
        if not self._file.device.startswith("cuda:"):
            # Where safetensors refuses, so that it cannot be told from this. sluice.load() loads to the host, too.
            raise _wrong(f"prefetch loads to cuda devices, not {self._file.moves_to or self._file.device}")
        wanted, slices = _planned(file, plan)
        try:
            self._load = self._file.start(list(wanted), slices)
        except Error as error:
            raise _retold(error) from error
        self._left = {name: None for name in file.checkpoint.names if name in wanted}
        self._names = dict(self._left)
        self._is_closed = False
        self._lock = threading.Lock()

    def names(self):
        """The names that it hands out, in the order of the file."""
        return list(self._names)

    def __len__(self):
        return len(self._names)

    def _claim(self, name):
        """The load that the tensor is taken from; None where it was taken. The last one takes the load along, so that a
        loader which is kept keeps no memory."""
        with self._lock:
            self._check_open()
            if name not in self._left:
                return None
            del self._left[name]
            load = self._load
            if not self._left:
                self._load = None
            return load

    def _check_open(self):
        if self._is_closed:
            raise _wrong("prefetch loader is closed")

    def _retold(self, error):
        self._check_open()
        return _retold(error)

    def take(self, name):
        """The tensor of that name, once it is there. Raises where it was taken before, or was not planned."""
        if name not in self._names:
            raise _wrong(f"tensor {name} is not in the prefetch plan")
        load = self._claim(name)
        if load is None:
            raise _wrong(f"tensor {name} was already delivered")
        try:
            return self._file.convert(load[name])
        except Error as error:
            raise self._retold(error) from error

    def __iter__(self):
        load = self._load
        try:
            for name, tensor in load or ():
                if self._claim(name) is not None:
                    yield name, self._file.convert(tensor)
        except Error as error:
            raise self._retold(error) from error
        self._check_open()

    def close(self):
        """Stops, and gives back what was not taken."""
        with self._lock:
            load, self._load, self._is_closed = self._load, None, True
        if load is not None:
            load.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _planned(file, plan):
    """(names, slices by name) of a plan. Raises, for what safetensors refuses, what it does."""
    if plan is None:
        plan = dict.fromkeys(file.checkpoint.names)
    elif not isinstance(plan, dict):
        raise TypeError(f"'{type(plan).__name__}' object is not an instance of 'dict'")
    elif not plan:
        raise _wrong("prefetch plan selects no tensors")
    slices = {}
    for name, rows in plan.items():
        if not isinstance(name, str):
            raise _wrong("prefetch plan keys must be tensor names")
        info = file.info(name)
        if info.dtype.startswith("F6_"):
            raise _wrong(f"Dtype not understood: {info.dtype}")
        if rows is not None:
            slices[name] = _rows(name, rows, info.shape)
    return list(plan), slices


def _rows(name, rows, shape):
    """The slice with its ends counted from the beginning."""
    if not isinstance(rows, slice):
        raise _wrong(f"prefetch plan values must be None or a slice, got {type(rows)} for {name}")
    if not shape:
        raise _wrong(f"cannot slice rows of the 0-d tensor {name}")
    if not all(end is None or isinstance(end, int) for end in (rows.start, rows.stop)):
        raise _wrong(f"prefetch plan slice bounds for {name} must be integers or None")
    try:
        begin, end, step = rows.indices(shape[0])
    except (TypeError, ValueError) as error:
        raise _wrong(f"invalid prefetch plan slice for {name}: {type(error).__name__}: {error}") from None
    if step != 1:
        raise _wrong(f"prefetch plan slices must have step 1, got {step} for {name}")
    for what, asked in (("start", rows.start), ("stop", rows.stop)):
        if asked is not None and not -shape[0] <= asked <= shape[0]:
            raise _wrong(f"prefetch plan slice {what} {asked} for {name} is out of range for {shape[0]} rows")
    return slice(begin, max(begin, end))
