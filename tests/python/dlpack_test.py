"""Tensors through DLPack, taken by a consumer written here with ctypes: pointer, device, dtype, shape, strides, bytes,
lifetimes, and the waits of the consumer's stream. GPUs are simulated: LD_LIBRARY_PATH leads to tests/sim, which ends the
process for a race, a use of freed memory or a leak.
"""

import ctypes
import gc
import unittest

import sluice
from support import BITS, Case, content, elements

c = ctypes


class DLTensor(c.Structure):
    _fields_ = [
        ("data", c.c_void_p), ("device_type", c.c_int32), ("device_id", c.c_int32), ("ndim", c.c_int32), ("code", c.c_uint8),
        ("bits", c.c_uint8), ("lanes", c.c_uint16), ("shape", c.POINTER(c.c_int64)), ("strides", c.POINTER(c.c_int64)),
        ("byte_offset", c.c_uint64),
    ]


class Managed(c.Structure):
    _fields_ = [("tensor", DLTensor), ("context", c.c_void_p), ("deleter", c.c_void_p)]


class Versioned(c.Structure):
    _fields_ = [
        ("major", c.c_uint32), ("minor", c.c_uint32), ("context", c.c_void_p), ("deleter", c.c_void_p), ("flags", c.c_uint64),
        ("tensor", DLTensor),
    ]


c.pythonapi.PyCapsule_GetName.argtypes = [c.py_object]
c.pythonapi.PyCapsule_GetName.restype = c.c_char_p
c.pythonapi.PyCapsule_GetPointer.argtypes = [c.py_object, c.c_char_p]
c.pythonapi.PyCapsule_GetPointer.restype = c.c_void_p
c.pythonapi.PyCapsule_SetName.argtypes = [c.py_object, c.c_char_p]


class Taken:
    """A capsule that was consumed, as a framework does it."""

    def __init__(self, tensor, versioned=True, **wishes):
        capsule = tensor.__dlpack__(max_version=(1, 0) if versioned else None, **wishes)
        name = c.pythonapi.PyCapsule_GetName(capsule)
        assert name == (b"dltensor_versioned" if versioned else b"dltensor")
        address = c.pythonapi.PyCapsule_GetPointer(capsule, name)
        self.managed = c.cast(address, c.POINTER(Versioned if versioned else Managed)).contents
        self.used_name = b"used_" + name
        c.pythonapi.PyCapsule_SetName(capsule, self.used_name)
        self.tensor = self.managed.tensor

    def give_back(self):
        c.CFUNCTYPE(None, c.c_void_p)(self.managed.deleter)(c.addressof(self.managed))

    def bytes(self, size):
        return c.string_at(self.tensor.data, size) if size else b""


# Code, bits and lanes of each dtype, by DLPack 1.1.
CODES = {
    "BOOL": (6, 8, 1), "U8": (1, 8, 1), "I8": (0, 8, 1), "U16": (1, 16, 1), "I16": (0, 16, 1), "U32": (1, 32, 1),
    "I32": (0, 32, 1), "U64": (1, 64, 1), "I64": (0, 64, 1), "F16": (2, 16, 1), "BF16": (4, 16, 1), "F32": (2, 32, 1),
    "F64": (2, 64, 1), "C64": (5, 64, 1), "F8_E4M3": (10, 8, 1), "F8_E4M3FNUZ": (11, 8, 1), "F8_E5M2": (12, 8, 1),
    "F8_E5M2FNUZ": (13, 8, 1), "F8_E8M0": (14, 8, 1), "F4": (17, 4, 2),
}


class Host(Case):
    def test_every_dtype(self):
        load = sluice.load(self.shard([(dtype, dtype, [2, 3, 4]) for dtype in BITS]))
        for dtype, (code, bits, lanes) in CODES.items():
            for versioned in (True, False):
                tensor = load[dtype]
                self.assertEqual(tensor.__dlpack_device__(), (1, 0))
                taken = Taken(tensor, versioned)
                its = taken.tensor
                self.assertEqual((its.code, its.bits, its.lanes), (code, bits, lanes), dtype)
                self.assertEqual((its.device_type, its.device_id, its.byte_offset), (1, 0, 0))
                shape = [2, 3, 4 // lanes]
                self.assertEqual(its.shape[: its.ndim], shape)
                self.assertEqual(its.strides[: its.ndim], [shape[1] * shape[2], shape[2], 1])
                self.assertEqual(its.data, tensor.data_ptr)
                del tensor
                self.assertEqual(taken.bytes(24 * BITS[dtype] // 8), content(dtype, dtype, [2, 3, 4]))
                taken.give_back()
        for dtype in ("F6_E2M3", "F6_E3M2"):
            with self.assertRaises(sluice.Error) as raised:
                load[dtype].__dlpack__()
            self.assertEqual((raised.exception.code, raised.exception.tensor), ("unsupported_format", dtype))

    def test_scalars_and_tensors_of_nothing(self):
        load = sluice.load(self.shard([("scalar", "F32", []), ("nothing", "F32", [3, 0])]))
        scalar, nothing = Taken(load["scalar"]), Taken(load["nothing"])
        self.assertEqual(scalar.tensor.ndim, 0)
        self.assertEqual(scalar.bytes(4), content("scalar", "F32", []))
        self.assertEqual(nothing.tensor.shape[:2], [3, 0])
        scalar.give_back()
        nothing.give_back()

    def test_memory_stays_until_it_is_given_back(self):
        taken = [Taken(tensor, versioned) for _, tensor in sluice.load(self.shard([("a", "U8", [4096])] * 1)) for versioned in (1, 0)]
        gc.collect()
        for its in taken:
            self.assertEqual(its.bytes(4096), content("a", "U8", [4096]))
            its.give_back()

    def test_wishes(self):
        tensor = sluice.load(self.shard([("a", "U8", [16])]))["a"]
        Taken(tensor, stream=None, dl_device=(1, 0), copy=False).give_back()
        for wish in ({"copy": True}, {"dl_device": (2, 0)}):
            with self.assertRaises(BufferError):
                tensor.__dlpack__(**wish)
        class Undecided:
            def __bool__(self):
                raise ArithmeticError

        with self.assertRaises(ArithmeticError):
            tensor.__dlpack__(copy=Undecided())
        with self.assertRaises(ValueError):
            tensor.__dlpack__(stream=1)
        for wrong in ({"max_version": 1}, {"max_version": (1,)}, {"dl_device": ("cpu", 0)}, {"device": None}):
            with self.assertRaises(TypeError):
                tensor.__dlpack__(**wrong)
        with self.assertRaises(TypeError):
            tensor.__dlpack__(None)
        with self.assertRaises(OverflowError):
            tensor.__dlpack__(max_version=(1 << 70, 0))
        with self.assertRaises(BufferError):
            sluice.load(self.folder, "null")["a"].__dlpack__()


class Gpus(Case):
    """In processes of their own, since the driver reports at a process's end."""

    TENSORS = [("a", "BF16", [3, 5]), ("b", "F32", [1 << 15]), ("scalar", "I64", []), ("nothing", "F16", [0, 2])]

    def setUp(self):
        super().setUp()
        self.path = self.shard(self.TENSORS)

    def run_on_gpus(self, script, status=0, **environment):
        import os
        import textwrap

        prelude = textwrap.dedent(PRELUDE.format(here=os.path.dirname(os.path.abspath(__file__))))
        return self.run_script(prelude + textwrap.dedent(script), self.path, status=status, **environment)

    def test_pointers_devices_and_bytes(self):
        script = """
            load = sluice.load(sys.argv[1], ["cuda:0", "cuda:1"])
            for name, tensor in load:
                number = int(tensor.device[-1])
                assert tensor.__dlpack_device__() == (2, number)
                taken = Taken(tensor, stream=1)
                its = taken.tensor
                assert (its.device_type, its.device_id, its.data or 0) == (2, number, tensor.data_ptr)
                assert its.shape[: its.ndim] == list(tensor.shape)
                wanted = content(name, tensor.dtype, tensor.shape)
                with context(number):
                    assert read(its.data, len(wanted)) == wanted, name
                taken.give_back()
            try:
                memoryview(load["a"])
                sys.exit(3)
            except BufferError:
                pass
            for stream in (None, 1, 2, -1):
                Taken(load["a"], stream=stream).give_back()
            try:
                load["a"].__dlpack__(stream=0)
                sys.exit(4)
            except ValueError:
                pass
        """
        self.run_on_gpus(script)

    def test_torch_is_asked_for_its_stream_where_there_is_one(self):
        script = """
            import types
            sys.modules["torch"] = types.SimpleNamespace(from_dlpack=lambda source: source)
            import sluice.torch
            kinds = [type(sluice.torch.tensor(sluice.load(sys.argv[1], device)["b"])).__name__ for device in ("cpu", "cuda:0")]
            assert kinds == ["PyCapsule", "Tensor"], kinds
            for device in ("cpu", "cuda:0"):
                assert {type(its).__name__ for its in sluice.torch.load_file(sys.argv[1], device).values()} == {"PyCapsule"}
        """
        self.run_on_gpus(script)

    def test_tensors_outlive_load_and_engine_and_go_with_the_last_of_them(self):
        script = """
            load = sluice.load(sys.argv[1], "cuda:1")
            taken = [Taken(tensor) for _, tensor in load]
            kept = load["b"]
            load.close()
            del load
            gc.collect()
            sluice.configure()  # gives up the engine
            with context(1):
                assert read(kept.data_ptr, kept.nbytes) == content("b", "F32", [1 << 15])
                for its in taken:
                    its.give_back()
                assert read(kept.data_ptr, kept.nbytes) == content("b", "F32", [1 << 15])
        """
        self.run_on_gpus(script)

    # The thread that learns of finished work is held: the tensor is on its way, and cannot arrive.
    EARLY = """
        with context(0):
            first, second = stream(), stream()
            target = c.c_void_p()
            check(cuda.cuMemHostAlloc(c.byref(target), c.c_size_t(1 << 17), 0))
            hold("cuEventSynchronize")
            load = sluice.load(sys.argv[1], "cuda:0")
            tensor = load.wait_on(first.value, "b")
            assert load.find("b") is None
            taken = Taken(tensor, stream=STREAM)
            check(cuda.cuMemcpyDtoHAsync_v2(target, c.c_void_p(taken.tensor.data), c.c_size_t(1 << 17), second))
            check(cuda.cuStreamSynchronize(second))
            assert c.string_at(target.value, 1 << 17) == content("b", "F32", [1 << 15])
            check(cuda.cuStreamSynchronize(first))
            release()
            load.wait()
            taken.give_back()
            check(cuda.cuMemFreeHost(target))
            check(cuda.cuStreamDestroy_v2(first))
            check(cuda.cuStreamDestroy_v2(second))
    """

    def test_the_consumers_stream_waits_for_what_has_not_arrived(self):
        self.run_on_gpus(self.EARLY.replace("STREAM", "second.value"), SLUICE_SIM_POLICY="lazy")

    def test_nobody_waits_for_who_says_that_he_does(self):
        _, errors = self.run_on_gpus(self.EARLY.replace("STREAM", "-1"), status=None, SLUICE_SIM_POLICY="lazy")
        self.assertRegex(errors, "race|undefined")

    def test_a_load_that_is_closed_waits_for_its_copies_whoever_else_has_it(self):
        script = """
            import threading
            hold("cuEventSynchronize")
            load = sluice.load(sys.argv[1], "cuda:0")
            pairs = iter(load)
            load.wait_on(0, "b")
            closed = threading.Event()
            thread = threading.Thread(target=lambda: (load.close(), closed.set()))
            thread.start()
            too_early = closed.wait(0.1)
            release()
            thread.join()
            assert not too_early
        """
        self.run_on_gpus(script)

    def test_the_interpreter_ends_while_tensors_are_there(self):
        for held in ("", "held = dict(load)", "import builtins; builtins.held = list(load)"):
            self.run_on_gpus(f"load = sluice.load(sys.argv[1], 'cuda:0')\n{held}\n")


PRELUDE = """
    import contextlib, ctypes, gc
    sys.path.insert(0, {here!r})
    from dlpack_test import Taken
    from support import content
    c = ctypes
    cuda = c.CDLL("libcuda.so.1")

    def check(result):
        assert result == 0, result

    check(cuda.cuInit(0))

    @contextlib.contextmanager
    def context(number):
        its = c.c_void_p()
        check(cuda.cuDevicePrimaryCtxRetain(c.byref(its), number))
        check(cuda.cuCtxPushCurrent_v2(its))
        yield
        check(cuda.cuCtxPopCurrent_v2(c.byref(its)))
        check(cuda.cuDevicePrimaryCtxRelease_v2(number))

    def read(pointer, size):
        target = c.create_string_buffer(max(size, 1))
        if size: check(cuda.cuMemcpyDtoH_v2(target, c.c_void_p(pointer), c.c_size_t(size)))
        return target.raw[:size]

    def stream():
        its = c.c_void_p()
        check(cuda.cuStreamCreate(c.byref(its), 1))
        return its

    def hold(call):  # sluice::sim::hold_call(std::string_view)
        cuda._ZN6sluice3sim9hold_callESt17basic_string_viewIcSt11char_traitsIcEE(c.c_size_t(len(call)), call.encode())

    def release():
        cuda._ZN6sluice3sim13release_callsEv()
"""


if __name__ == "__main__":
    unittest.main()
