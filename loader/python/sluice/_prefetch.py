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
        wanted = {name: None for name in file.checkpoint.names} if plan is None else dict(plan)
        slices = {}
        for name, rows in wanted.items():
            info = file.info(name)
            if info.dtype.startswith("F6_"):
                raise _wrong(f"Dtype not understood: {info.dtype}")
            if rows is not None:
                slices[name] = _rows(name, rows, info.shape)
        try:
            self._load = self._file.start(list(wanted), slices)
        except Error as error:
            raise _retold(error) from error
        self._left = {name: None for name in file.checkpoint.names if name in wanted}
        self._names = dict(self._left)
        self._lock = threading.Lock()

    def names(self):
        """The names that it hands out, in the order of the file."""
        return list(self._names)

    def __len__(self):
        return len(self._names)

    def _claim(self, name):
        with self._lock:
            if name not in self._left:
                return False
            del self._left[name]
            return True

    def take(self, name):
        """The tensor of that name, once it is there. Raises where it was taken before, or was not planned."""
        if name not in self._names:
            raise _wrong(f"tensor {name} is not part of this loader")
        if not self._claim(name):
            raise _wrong(f"tensor {name} was taken already")
        try:
            return self._file.convert(self._load[name])
        except Error as error:
            raise _retold(error) from error

    def __iter__(self):
        try:
            for name, tensor in self._load:
                if self._claim(name):
                    yield name, self._file.convert(tensor)
        except Error as error:
            raise _retold(error) from error

    def close(self):
        """Stops, and gives back what was not taken."""
        with self._lock:
            self._left.clear()
        self._load.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _rows(name, rows, shape):
    """The slice with its ends counted from the beginning."""
    if not shape:
        raise _wrong(f"tensor {name} has no dimension to be sliced")
    if not isinstance(rows, slice) or rows.step not in (None, 1):
        raise _wrong(f"tensor {name}: a slice of step 1 of the outermost dimension is wanted, or None")
    begin, end, _ = rows.indices(shape[0])
    return slice(begin, max(begin, end))
