"""safe_open.prefetch: what it hands out and what it refuses, in safetensors' words. On simulated GPUs, since it serves no
other device, and with a torch that takes tensors as they are.
"""

import os
import textwrap
import unittest

import dlpack_test
from support import Case

TENSORS = [("rows", "F32", [6, 5]), ("scalar", "I64", []), ("half", "F16", [1 << 10]), ("odd", "F6_E2M3", [4])]

PRELUDE = """
    import types
    sys.modules["torch"] = types.SimpleNamespace(from_dlpack=lambda tensor: tensor)
    file = sluice.safe_open(sys.argv[1], "pt", "cuda:0")
    plain = dict.fromkeys(["rows", "scalar", "half"])

    def refused(call):
        try:
            call()
        except Exception as error:
            return str(error)

    def holds(tensor, begin=0, end=None):
        with context(0):
            bits = read(tensor.data_ptr, tensor.nbytes)
        return bits == content(tensor.name, tensor.dtype, [6, 5] if tensor.name == "rows" else tensor.shape)[begin:end]
"""

# The plan, where to, and why not.
REFUSED = [
    ({"rows": None}, "cpu", "prefetch loads to cuda devices, not cpu"),
    ({"nowhere": 3}, "xpu:1", "prefetch loads to cuda devices, not xpu:1"),
    (["rows"], None, "'list' object is not an instance of 'dict'"),
    ({}, None, "prefetch plan selects no tensors"),
    ({1: None}, None, "prefetch plan keys must be tensor names"),
    ({"nowhere": None}, None, "File does not contain tensor nowhere"),
    ({"rows": 3}, None, "prefetch plan values must be None or a slice, got <class 'int'> for rows"),
    ({"scalar": slice(0, 1)}, None, "cannot slice rows of the 0-d tensor scalar"),
    ({"rows": slice("a", 2)}, None, "prefetch plan slice bounds for rows must be integers or None"),
    ({"rows": slice(0, 3, 0)}, None, "invalid prefetch plan slice for rows: ValueError: slice step cannot be zero"),
    ({"rows": slice(0, 3, 2)}, None, "prefetch plan slices must have step 1, got 2 for rows"),
    ({"rows": slice(7, 9)}, None, "prefetch plan slice start 7 for rows is out of range for 6 rows"),
    ({"rows": slice(0, -7)}, None, "prefetch plan slice stop -7 for rows is out of range for 6 rows"),
    ({"odd": None}, None, "Dtype not understood: F6_E2M3"),
]


class Prefetch(Case):
    def run_on_gpu(self, script):
        here = os.path.dirname(os.path.abspath(__file__))
        parts = (dlpack_test.PRELUDE.format(here=here), PRELUDE, script)
        said, _ = self.run_script("".join(map(textwrap.dedent, parts)), self.shard(TENSORS))
        return said

    def test_hands_out_each_tensor_once(self):
        self.run_on_gpu("""
            with file.prefetch({**plain, "rows": slice(-4, 3)}) as loader:
                assert loader.names() == ["rows", "scalar", "half"] and len(loader) == 3
                rows = loader.take("rows")
                assert rows.shape == (1, 5) and holds(rows, 2 * 20, 3 * 20)
                assert refused(lambda: loader.take("rows")) == "tensor rows was already delivered"
                assert refused(lambda: loader.take("odd")) == "tensor odd is not in the prefetch plan"
                rest = dict(loader)
                assert set(rest) == {"scalar", "half"} and all(map(holds, rest.values()))
                assert dict(loader) == {}
            empty = file.prefetch({"rows": slice(2, 2)}, device=0).take("rows")
            assert empty.shape == (0, 5) and empty.nbytes == 0
        """)

    def test_a_closed_loader_says_so_and_leaves_what_it_gave(self):
        self.run_on_gpu("""
            loader = file.prefetch(plain)
            its = iter(loader)
            name, tensor = next(its)
            loader.close()
            assert holds(tensor)
            for call in (lambda: list(its), lambda: list(loader), lambda: loader.take("half"), lambda: loader.take("scalar")):
                assert refused(call) == "prefetch loader is closed"
            loader.close()
        """)

    def test_a_loader_that_gave_everything_keeps_no_memory(self):
        self.run_on_gpu("""
            def free():
                its, total = c.c_size_t(), c.c_size_t()
                with context(0):
                    check(cuda.cuMemGetInfo_v2(c.byref(its), c.byref(total)))
                return its.value

            file.prefetch(plain).close()  # the engine's own memory is there from now on
            before = free()
            loaders = [file.prefetch(plain) for _ in range(2)]
            held = dict(loaders[0]), [loaders[1].take(name) for name in plain]
            assert free() < before
            del held
            gc.collect()
            assert free() == before, (free(), before)
        """)

    def test_refuses_what_safetensors_refuses(self):
        said = self.run_on_gpu(f"for plan, device, _ in {REFUSED}:\n    print(refused(lambda: file.prefetch(plan, device=device)))\n")
        self.assertEqual(said.splitlines(), [why for _, _, why in REFUSED])


if __name__ == "__main__":
    unittest.main()
