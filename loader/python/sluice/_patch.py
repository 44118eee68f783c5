"""patch(): has programs that read with safetensors read with sluice instead."""

import sys
import threading

from sluice._safe_open import device_of, framework_of
from sluice._safe_open import safe_open as _ours

_lock = threading.Lock()
_patches = []  # the last one is what others see


class Patch:
    """What was replaced, until undo(), or the end of a `with` block. `replaced` lists it by its full name."""

    def __init__(self, device):
        import safetensors

        with _lock:
            self._theirs = _patches[-1]._theirs if _patches else safetensors.safe_open
            self._here = _class(self._theirs, device)
            self.replaced = _exchange(_seen(self._theirs), self._here)
            _patches.append(self)

    def undo(self):
        """Puts back what was there, also where it was taken from meanwhile."""
        with _lock:
            if self in _patches:
                _patches.remove(self)
                _exchange(self._here, _seen(self._theirs))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.undo()

    def __repr__(self):
        return f"<sluice.Patch of {', '.join(self.replaced)}>"


def patch(device=None):
    """Replaces safetensors.safe_open by sluice.safe_open wherever a module has it: safetensors itself, its torch and
    numpy modules with their load_file, and those that have imported the name: transformers.modeling_utils,
    accelerate.utils.modeling. device: where tensors go that are asked for on "cpu", as transformers does. Frameworks
    and devices that sluice does not serve are left to safetensors. Returns a Patch, which lists what was replaced; may
    be used in `with`, and inside another: the last one that was not undone decides."""
    if device is not None:
        device_of(device)
    return Patch(device)


def _seen(theirs):
    """What others are to see, of the patches that are left."""
    return _patches[-1]._here if _patches else theirs


def _class(theirs, instead):
    class safe_open(_ours):  # noqa: N801, the name that it replaces
        __doc__ = _ours.__doc__

        def __new__(cls, filename, framework, *arguments, **options):
            if framework_of(framework) is None:
                return theirs(filename, framework, *arguments, **options)
            return super().__new__(cls)

        def __init__(self, filename, framework, device="cpu", *, backend="mmap"):
            if instead is not None and framework_of(framework) == "torch" and str(device) == "cpu":
                device = instead
            super().__init__(filename, framework, device, backend=backend)

    safe_open.__qualname__ = "safe_open"
    return safe_open


def _exchange(old, new):
    """Puts `new` wherever a module calls `old` safe_open; says where."""
    places = []
    for name, module in sorted(sys.modules.items()):
        if name.rpartition(".")[2] == "_safetensors_rust":
            continue  # theirs stays where it is made
        if getattr(module, "__dict__", {}).get("safe_open") is old:
            module.safe_open = new
            places.append(f"{name}.safe_open")
    return places
