"""patch(): has programs that read with safetensors read with sluice instead."""

import sys

from sluice._safe_open import device_of, framework_of
from sluice._safe_open import safe_open as _ours

_active = None


class Patch:
    """What was replaced, until undo(), or the end of a `with` block. `replaced` lists it by its full name."""

    def __init__(self, device):
        import safetensors

        self._theirs = safetensors.safe_open
        self._here = _class(self._theirs, device)
        self.replaced = _exchange(self._theirs, self._here)

    def undo(self):
        """Puts back what was there, also where it was taken from meanwhile."""
        global _active
        if _active is self:
            _active = None
            _exchange(self._here, self._theirs)

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
    be used in `with`. A second call replaces the first."""
    global _active
    if device is not None:
        device_of(device)
    if _active is not None:
        _active.undo()
    _active = Patch(device)
    return _active


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
