"""open() and load(): a checkpoint's catalogue, and its tensors as they arrive."""

import atexit
import operator
import os
import time

from sluice import _sluice

_DTYPES = {
    "float64": "F64", "double": "F64", "float32": "F32", "float": "F32", "float16": "F16", "half": "F16",
    "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}

# Reads that are in flight would write into memory that the ending process has given back.
atexit.register(_sluice.end)


def _devices(device):
    """What the library calls what people call a device, or several."""
    if isinstance(device, (list, tuple)):
        return ",".join(_devices(each) for each in device)
    if isinstance(device, int):
        return f"cuda:{device}"
    name = str(device)
    return "host" if name == "cpu" else name


def _dtype(dtype):
    if dtype is None:
        return None
    name = dtype if isinstance(dtype, str) else getattr(dtype, "name", None) or str(dtype)
    name = name.rpartition(".")[2]
    return _DTYPES.get(name, name.upper())


def _ranges(pattern, slices):
    ranges = []
    for dimension, its in enumerate(slices):
        if not isinstance(its, slice) or its.step not in (None, 1):
            raise ValueError(f"slices of {pattern!r}: ranges without a step are wanted, as in slice(0, 512)")
        begin = operator.index(its.start or 0)
        end = None if its.stop is None else operator.index(its.stop)
        if begin < 0 or (end is not None and end < begin):
            raise ValueError(f"slices of {pattern!r}: ends count from the beginning, and do not cross")
        if begin != 0 or end is not None:
            ranges.append((dimension, begin, None if end is None else end - begin))
    return ranges


def _cut(pattern, its):
    if isinstance(its, int):
        return (pattern, "split", its, 0)
    if isinstance(its, tuple) and len(its) == 3 and all(isinstance(each, int) for each in its):
        return (pattern, "part", *its)
    return (pattern, "take", _ranges(pattern, its if isinstance(its, tuple) else (its,)))


def _wishes(device, dtype, select, slices, rules, values, budget=None):
    text = path = None
    if rules is not None:
        if select is not None or slices or dtype is not None:
            raise ValueError("rules say what is taken, and as what: leave out select, slices and dtype")
        if isinstance(rules, str) and "\n" in rules:
            text = rules
        else:
            path = os.fsdecode(rules)
    elif values:
        raise ValueError("values are of the variables of rules: pass rules")
    if select is not None:
        select = [select] if isinstance(select, str) else list(select)
    cuts = [_cut(pattern, its) for pattern, its in (slices or {}).items()]
    return (_devices(device), _dtype(dtype), select, cuts, text, path, dict(values or {}), budget)


def open(path, *, threads=0):
    """The Checkpoint at `path`: a shard, a folder of shards, a *.safetensors.index.json, or a snapshot folder of the
    Hugging Face cache. Reads and validates headers, on up to `threads` threads (0: one per processor), and no tensor
    data. Raises Error."""
    return _sluice.open(path, threads)


def load(path, device="cpu", *, dtype=None, select=None, slices=None, rules=None, values=None, budget=None, when_full="raise",
         progress=None):
    """Begins to load tensors of the checkpoint at `path`, or of a Checkpoint, and returns a Load at once.

    device: "cpu", "cuda:0", "null", a number of a GPU, a torch.device, or a list: then each gets its own.
    dtype: cast floats to it: "BF16", torch.bfloat16. What is no float stays as it is.
    select: a name, a glob or a list of them; without it, everything.
    slices: what to take of tensors, by name or glob: slice objects for the outermost dimensions, (dimension, index,
        parts), or, to split over several devices, a dimension. The first that matches decides.
    rules: in place of the three above, the path of a rules file, or its text, which is told by its line breaks:
        docs/rules.md. values: of its variables, by name.
    budget: the most bytes of memory for tensors that is there at a time, on each device; at least 8 MiB. Tensors are
        then handed out once, and memory is given back, and the load goes on, when they are let go of.
    when_full: with a budget, what a wait does when the tensors that are held use it up. "raise" raises Error
        "out_of_memory": the load stays, and goes on as soon as some are let go of. "wait" waits until another thread
        does that.
    progress: called with a Progress now and then by the thread that iterates or waits.
    """
    devices = _devices(device)
    wishes = _wishes(device, dtype, select, slices, rules, values, budget)
    if when_full not in ("raise", "wait"):
        raise ValueError(f'when_full is "raise" or "wait", not {when_full!r}')
    _sluice.prepare(devices)  # drivers start beside the reading of headers
    checkpoint = path if isinstance(path, _sluice.Checkpoint) else _sluice.open(path, 0)
    return Load(_sluice.start(checkpoint, wishes, when_full == "wait"), checkpoint, progress)


def configure(*, io="auto", reader="auto", staging_bytes=0, slab_bytes=0, queue_depth=0, threads=0):
    """The options of loads that begin from now on; 0 is the default. docs/command-line.md has what they mean."""
    _sluice.configure(io, reader, staging_bytes, slab_bytes, queue_depth, threads)


class Load:
    """A running load. Iterating gives (name, tensor) in order of arrival, waiting for each, and begins anew each time.
    As a mapping it has tensors by name; `load[name]` waits for that one. On several devices, `load[name, device]`.

    Tensors that were taken keep their memory. Without them, it goes with the load: when nothing refers to it or its
    iterators, or it is closed, reading stops and memory is given back. Where Ctrl-C interrupts a wait, the load is
    cancelled. Methods may be called from any thread.
    """

    __slots__ = ("_load", "_names", "_progress", "checkpoint")

    def __init__(self, load, checkpoint, progress):
        self._load = load
        self._names = None
        self._progress = progress
        self.checkpoint = checkpoint

    def __iter__(self):
        return iter(self._load) if self._progress is None else self._tell()

    def _tell(self):
        due = 0
        for pair in self._load:
            if time.monotonic() >= due:
                self._progress(self._load.progress())
                due = time.monotonic() + 0.1
            yield pair
            del pair  # its memory may be what the next one waits for
        self._progress(self._load.progress())

    def wait(self, timeout=None):
        """Waits until all have arrived; False where `timeout` seconds were not enough. Raises what went wrong."""
        if self._progress is None:
            return self._load.wait(timeout)
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = 0.1 if end is None else min(0.1, end - time.monotonic())
            done = self._load.wait(max(left, 0))
            self._progress(self._load.progress())
            if done or left <= 0:
                return done

    def wait_for(self, name, device=None, timeout=None):
        """The tensor, once it has arrived; None where `timeout` seconds were not enough."""
        return self._load.wait_for(name, None if device is None else _devices(device), timeout)

    def wait_on(self, stream, name, device=None):
        """The tensor as soon as work that is queued on `stream` from now on will find it there: the host waits until it
        is read, not for the device. `stream`: a CUDA stream's handle; 0 is the default stream. Whoever takes the tensor
        by DLPack has his own stream wait, too."""
        return self._load.wait_on(stream, name, None if device is None else _devices(device))

    def find(self, name, device=None):
        """The tensor if it has arrived, else None. Does not wait."""
        return self._load.find(name, None if device is None else _devices(device))

    def get(self, name, default=None):
        return self[name] if name in self else default

    def __getitem__(self, name):
        if isinstance(name, tuple):
            return self.wait_for(*name)
        return self.wait_for(name)

    def keys(self):
        """The names of what it delivers, in the checkpoint's order."""
        if self._names is None:
            self._names = dict.fromkeys(name for name, _ in self._load.tensors())
        return self._names.keys()

    def values(self):
        """All tensors; waits for them."""
        self.wait()
        return [self[name] for name in self.keys()]

    def items(self):
        """All pairs of name and tensor; waits for them."""
        self.wait()
        return [(name, self[name]) for name in self.keys()]

    def __contains__(self, name):
        return name in self.keys()

    def __len__(self):
        return len(self.keys())

    def progress(self):
        """A Progress, now."""
        return self._load.progress()

    def statistics(self):
        """A dictionary of what it did; complete once it has ended."""
        return self._load.statistics()

    def costs(self):
        """A dictionary of what its plan said that it would read, copy and hold."""
        return self._load.costs()

    def cancel(self):
        """Asks it to end, and returns at once. What waits for it raises Error "cancelled"."""
        self._load.cancel()

    def close(self):
        """Cancels it where it still runs, and waits until nothing is read any more. Tensors that were taken stay."""
        self._load.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
