"""What people call first: open, load, iterate, look up. Tensors are compared, byte by byte, with what was written."""

import ctypes
import json
import os
import struct
import unittest

import sluice
from support import BITS, LAST, Case, content, elements, write_shard

TENSORS = [
    ("a.weight", "F32", [3, 4]), ("a.bias", "BF16", [4]), ("scalar", "I64", []), ("nothing", "F16", [0, 7]),
    ("b.weight", "F32", [8, 2]), ("mask", "BOOL", [5]),
]


def bytes_of(tensor):
    return bytes(memoryview(tensor).cast("B")) if tensor.nbytes else b""


class Open(Case):
    def test_tells_what_the_headers_say(self):
        path = self.shard(TENSORS, metadata={"format": "pt"})
        checkpoint = sluice.open(path)
        self.assertEqual(checkpoint.names, [name for name, _, _ in TENSORS])
        self.assertEqual(len(checkpoint), len(TENSORS))
        self.assertIn("mask", checkpoint)
        self.assertNotIn("masks", checkpoint)
        self.assertEqual(checkpoint.path, str(path))
        shard, = checkpoint.shards
        self.assertEqual(shard.path, str(path))
        self.assertEqual(shard.nbytes, os.path.getsize(path))
        self.assertEqual(shard.metadata, {"format": "pt"})
        end = shard.data_offset
        for info, (name, dtype, shape) in zip(checkpoint.tensors, TENSORS):
            size = elements(shape) * BITS[dtype] // 8
            self.assertEqual(info, (name, dtype, tuple(shape), size, 0, end))
            self.assertEqual(checkpoint.find(name), info)
            end += size
        self.assertEqual(checkpoint.nbytes, end - shard.data_offset)
        self.assertIsNone(checkpoint.find("masks"))

    def test_takes_folders_and_any_kind_of_path(self):
        self.shard(TENSORS[:2], "model-00001-of-00002.safetensors")
        self.shard(TENSORS[2:], "model-00002-of-00002.safetensors")
        for path in (self.folder, str(self.folder), os.fsencode(self.folder)):
            self.assertEqual(len(sluice.open(path, threads=2)), len(TENSORS))
        with self.assertRaises(TypeError):
            sluice.open(3)


class Loads(Case):
    def setUp(self):
        super().setUp()
        self.path = self.shard(TENSORS)

    def test_gives_all_in_order_of_arrival_each_time_anew(self):
        load = sluice.load(self.path)
        arrived, again = list(load), list(load)
        first = dict(arrived)
        self.assertEqual(first.keys(), {name for name, _, _ in TENSORS})
        self.assertEqual([name for name, _ in again], [name for name, _ in arrived])
        for name, dtype, shape in TENSORS:
            tensor = first[name]
            self.assertEqual((tensor.name, tensor.dtype, tensor.shape, tensor.device), (name, dtype, tuple(shape), "host"))
            self.assertEqual(tensor.nbytes, elements(shape) * BITS[dtype] // 8)
            self.assertEqual(bytes_of(tensor), content(name, dtype, shape))

    def test_is_a_mapping(self):
        load = sluice.load(self.path)
        names = [name for name, _, _ in TENSORS]
        self.assertEqual(bytes_of(load["b.weight"]), content(*TENSORS[4]))
        self.assertEqual(bytes_of(load["b.weight", "cpu"]), content(*TENSORS[4]))
        self.assertEqual(list(load.keys()), names)
        self.assertEqual([name for name, _ in load.items()], names)
        self.assertEqual([tensor.name for tensor in load.values()], names)
        self.assertEqual(len(load), len(names))
        self.assertIn("mask", load)
        self.assertIsNone(load.get("masks"))
        with self.assertRaises(KeyError) as raised:
            load["masks"]
        self.assertEqual(raised.exception.tensor, "masks")

    def test_waits(self):
        load = sluice.load(self.path)
        self.assertTrue(load.wait())
        self.assertTrue(load.wait(0))
        self.assertEqual(load.wait_for("mask", "host", 1).name, "mask")
        self.assertEqual(load.find("mask").name, "mask")
        self.assertIsNone(load.find("masks"))
        progress = load.progress()
        self.assertTrue(progress.finished)
        self.assertEqual(progress.tensors_ready, len(TENSORS))
        self.assertEqual(progress.bytes_read, load.costs()["read_bytes"])
        self.assertEqual(load.statistics()["delivered_bytes"], sluice.open(self.path).nbytes)
        json.dumps([load.statistics(), load.costs()])

    def test_says_that_time_is_up(self):
        load = sluice.load(self.endless(), "null")
        self.assertFalse(load.wait(0.01))
        self.assertIsNone(load.wait_for(LAST, timeout=0.01))
        self.assertIsNone(load.find(LAST))
        load.cancel()
        with self.assertRaises(sluice.Error) as raised:
            load.wait()
        self.assertEqual(raised.exception.code, "cancelled")

    def test_tells_of_its_progress(self):
        told = []
        load = sluice.load(self.path, progress=told.append)
        self.assertEqual(len(list(load)), len(TENSORS))
        self.assertTrue(load.wait())
        self.assertGreaterEqual(len(told), 3)
        self.assertEqual(told[-1].tensors_ready, len(TENSORS))

    def test_loads_a_checkpoint_that_is_open_onto_several_devices(self):
        load = sluice.load(sluice.open(self.path), ["cpu", "null"])
        load.wait()
        self.assertEqual(sorted(tensor.device for _, tensor in load), ["host"] * 6 + ["null"] * 6)
        self.assertEqual(len(load), 6)
        self.assertEqual(load["mask", "null"].device, "null")
        self.assertEqual(load["mask", "null"].data_ptr, 0)

    def test_selects(self):
        self.assertEqual(set(sluice.load(self.path, select="*.weight").keys()), {"a.weight", "b.weight"})
        self.assertEqual(set(sluice.load(self.path, select=["mask", "a.*", "a.bias"]).keys()), {"a.weight", "a.bias", "mask"})
        self.assertEqual(list(sluice.load(self.path, select=[])), [])
        with self.assertRaises(KeyError) as raised:
            sluice.load(self.path, select=["a.weigth"])
        self.assertIn("a.weight", raised.exception.hint)

    def test_casts_floats(self):
        load = sluice.load(self.path, dtype="float32")
        self.assertEqual(load["a.bias"].dtype, "F32")
        self.assertEqual(load["scalar"].dtype, "I64")
        bits = struct.unpack("<4H", content(*TENSORS[1]))
        self.assertEqual(bytes_of(load["a.bias"])[2::4], bytes(b & 255 for b in bits))
        with self.assertRaises(ValueError):
            sluice.load(self.path, dtype="F33")

    def test_takes_slices(self):
        rows = content(*TENSORS[0])
        load = sluice.load(self.path, select=["a.weight", "b.weight"], slices={"a.*": slice(1, 3), "b.weight": (0, 1, 4)})
        self.assertEqual(load["a.weight"].shape, (2, 4))
        self.assertEqual(bytes_of(load["a.weight"]), rows[16:48])
        self.assertEqual(bytes_of(load["b.weight"]), content(*TENSORS[4])[16:32])
        columns = sluice.load(self.path, slices={"a.weight": (slice(None), slice(1, 2))})
        self.assertEqual(bytes_of(columns["a.weight"]), b"".join(rows[at : at + 4] for at in range(4, 48, 16)))
        self.assertEqual(len(columns), len(TENSORS))
        split = sluice.load(self.path, ["cpu", "null"], select="b.weight", slices={"b.weight": 0})
        self.assertEqual(bytes_of(split["b.weight", "cpu"]), content(*TENSORS[4])[:32])
        for wrong in (slice(0, 3, 2), slice(-1, None), slice(2, 1), "x"):
            with self.assertRaises(ValueError):
                sluice.load(self.path, slices={"a.weight": wrong})
        with self.assertRaises(ValueError):
            sluice.load(self.path, slices={"a.weight": slice(1, 9)})

    def test_works_rules_out(self):
        rules = self.folder / "model.rules"
        rules.write_text(RULES)
        for given in (RULES, rules):
            load = sluice.load(self.path, rules=given, values={"rows": 2})
            self.assertEqual(list(load.keys()), ["joined"])
            self.assertEqual(bytes_of(load["joined"]), content(*TENSORS[0])[:32])
        with self.assertRaises(ValueError) as raised:
            sluice.load(self.path, rules="nonsense here\n")
        self.assertEqual((raised.exception.code, raised.exception.line), ("bad_rules", 1))
        with self.assertRaises(ValueError):
            sluice.load(self.path, rules=RULES, dtype="F32")
        with self.assertRaises(ValueError):
            sluice.load(self.path, values={"rows": 2})

    def test_gives_memory_that_can_be_written_to(self):
        tensor = sluice.load(self.path)["a.weight"]
        view = memoryview(tensor)
        self.assertEqual((view.format, view.shape, view.strides, view.readonly), ("f", (3, 4), (16, 4), False))
        view[0, 0] = 7.0
        self.assertEqual(memoryview(tensor)[0, 0], 7.0)
        raw = memoryview(sluice.load(self.path)["a.bias"])  # no format has BF16
        self.assertEqual((raw.format, raw.shape), ("B", (8,)))
        self.assertEqual(memoryview(sluice.load(self.path)["scalar"]).shape, ())
        with self.assertRaises(BufferError):
            memoryview(sluice.load(self.path, "null")["a.weight"])

    def test_gives_buffers_as_they_are_asked_for(self):
        get, release = ctypes.pythonapi.PyObject_GetBuffer, ctypes.pythonapi.PyBuffer_Release
        get.argtypes = [ctypes.py_object, ctypes.c_void_p, ctypes.c_int]
        release.argtypes = [ctypes.c_void_p]
        buffer = ctypes.create_string_buffer(128)
        load = sluice.load(self.path)
        simple, shape, c_order, fortran_order, any_order = 0, 0x8, 0x38, 0x58, 0x98
        for name, flags in {"a.weight": (simple, shape, c_order, any_order), "mask": (fortran_order,),
                            "scalar": (fortran_order,), "nothing": (fortran_order,)}.items():
            for each in flags:
                self.assertEqual(get(load[name], buffer, each), 0)
                release(buffer)
        with self.assertRaises(BufferError):
            get(load["a.weight"], buffer, fortran_order)
        path = self.shard([("nothing", "F32", [0, 1 << 40, 1 << 40])], "nothing.safetensors")
        view = memoryview(sluice.load(path)["nothing"])
        self.assertEqual((view.shape, view.strides, view.nbytes), ((0, 1 << 40, 1 << 40), (4, 4, 4), 0))

    def test_gives_every_dtype(self):
        tensors = [(dtype, dtype, [4, 4]) for dtype in BITS]
        load = sluice.load(self.shard(tensors, "all.safetensors"))
        for name, tensor in load:
            self.assertEqual((tensor.dtype, bytes_of(tensor)), (name, content(name, name, [4, 4])))

    def test_is_configured(self):
        self.addCleanup(sluice.configure)
        for options in ({"reader": "pread", "io": "buffered"}, {"threads": 2, "staging_bytes": 1 << 20, "queue_depth": 4}):
            sluice.configure(**options)
            load = sluice.load(self.path)
            load.wait()
            self.assertEqual(bytes_of(load["mask"]), content(*TENSORS[5]))
            if "reader" in options:
                self.assertEqual((load.statistics()["reader"], load.statistics()["io"]), ("pread", "buffered"))
        for wrong in ({"reader": "x"}, {"staging_bytes": 1}):
            with self.assertRaises(ValueError):
                sluice.configure(**wrong)

    def test_takes_names_of_any_characters(self):
        names = ["a\0b", "", "\u00e9", "\n*[", "\U0001f600"]
        load = sluice.load(self.shard([(name, "U8", [3]) for name in names], "names.safetensors"))
        for name in names:
            self.assertEqual(bytes_of(load[name]), content(name, "U8", [3]))
            self.assertEqual(load.find(name, "cpu").name, name)

    def test_takes_numbers_whole_or_refuses_them(self):
        class Index:
            def __init__(self, value):
                self.value = value

            def __index__(self):
                return self.value

        self.addCleanup(sluice.configure)
        for wrong in (-1, 1 << 32, 1 << 64):
            for name in ("queue_depth", "threads"):
                with self.assertRaises(OverflowError):
                    sluice.configure(**{name: wrong})
            with self.assertRaises(OverflowError):
                sluice.open(self.path, threads=wrong)
        load = sluice.load(self.path, slices={"a.weight": slice(Index(1), Index(3))})
        for wrong in (-1, 1 << 64):
            with self.assertRaises(OverflowError):
                sluice.configure(staging_bytes=wrong)
            with self.assertRaises(OverflowError):
                load.wait_on(wrong, "mask")
        sluice.configure(threads=Index(2), staging_bytes=Index(1 << 20))
        self.assertEqual(load["a.weight"].shape, (2, 4))
        self.assertEqual(len(sluice.load(self.path, budget=Index(8 << 20))), len(TENSORS))
        self.assertTrue(load.wait(float("inf")))
        self.assertTrue(load.wait(float("-inf")))
        with self.assertRaises(ValueError):
            load.wait(float("nan"))
        with self.assertRaises(TypeError) as raised:
            sluice.load(self.path, select=[1])
        self.assertIn("string", str(raised.exception))

    def test_imports_nothing_heavy(self):
        said, _ = self.run_script("print(*sorted(sys.modules))")
        loaded = set(said.split())
        self.assertIn("sluice._sluice", loaded)
        self.assertFalse(loaded & {"torch", "numpy", "safetensors", "ml_dtypes", "transformers"})

    def test_prints_nothing(self):
        script = """
            load = sluice.load(sys.argv[1]); load.wait(); list(load)
            try: sluice.open("/nowhere")
            except sluice.Error: pass
        """
        self.assertEqual(self.run_script(script, self.path), ("", ""))


RULES = """\
let rows = 1
tensor joined F32 [rows, 4]
a.weight[0 : rows] -> joined
"""


class Errors(Case):
    def test_say_what_where_and_what_to_do(self):
        path = self.folder / "short.safetensors"
        write_shard(path, TENSORS)
        os.truncate(path, os.path.getsize(path) - 1)
        with self.assertRaises(sluice.Error) as raised:
            sluice.open(path)
        error = raised.exception
        self.assertEqual((error.code, error.number, error.path), ("bad_header", 4, str(path)))
        self.assertTrue(error.message)
        self.assertTrue(error.hint)
        self.assertIn(error.message, str(error))
        self.assertIn(str(path), str(error))

    def test_are_exceptions_of_python_too(self):
        with self.assertRaises(FileNotFoundError) as raised:
            sluice.open(self.folder / "nowhere")
        self.assertIsInstance(raised.exception, sluice.Error)
        self.assertEqual(raised.exception.code, "not_found")
        with self.assertRaises(ValueError):
            sluice.load(self.shard(TENSORS), "gpu")

    def test_can_be_sent_to_another_process(self):
        import pickle

        with self.assertRaises(sluice.Error) as raised:
            sluice.open(self.folder / "nowhere")
        sent = pickle.loads(pickle.dumps(raised.exception))
        self.assertEqual((str(sent), sent.code, sent.path), (str(raised.exception), "not_found", raised.exception.path))

    def test_come_from_a_load_where_it_is_waited_for(self):
        path = self.shard([(f"t{i}", "U8", [1 << 20]) for i in range(8)])
        checkpoint = sluice.open(path)
        os.truncate(path, os.path.getsize(path) // 2)
        load = sluice.load(checkpoint)
        for wait in (load.wait, lambda: list(load), lambda: load["t7"], lambda: load.items()):
            with self.assertRaises(sluice.Error) as raised:
                wait()
            self.assertEqual(raised.exception.code, "file_changed")
            self.assertEqual(raised.exception.path, str(path))


if __name__ == "__main__":
    unittest.main()
