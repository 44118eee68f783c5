"""safe_open, numpy.load_file and patch: a table of what safetensors' do, asked of both, each with its result or its
exception. Skipped where safetensors or numpy is missing; what sluice adds is tested without safetensors' answer.
"""

import pickle
import threading
import unittest

import sluice
from support import Case, content, header_of

try:
    import numpy
    import safetensors
    import safetensors.numpy
except ImportError:
    numpy = None

TENSORS = [
    ("b", "F32", [10, 5]), ("a", "I64", []), ("nothing", "F16", [0, 3]), ("cube", "U8", [2, 3, 4]), ("mask", "BOOL", [4]),
    ("c", "C64", [2]), ("half", "F16", [6]),
]


def answer(call):
    """What it gives, or how it fails, in a form to compare."""
    try:
        result = call()
    except Exception as error:  # whatever theirs raises
        name = type(error).__name__
        return "raises", "SafetensorError" if name == "SafeOpenError" else name, str(error)
    if isinstance(result, numpy.ndarray):
        return "array", str(result.dtype), result.shape, result.tobytes()
    return "gives", result


@unittest.skipUnless(numpy, "safetensors and numpy are missing: scripts/setup installs them")
class Table(Case):
    def both(self, path, *arguments, **options):
        return [open_(path, *arguments, **options) for open_ in (safetensors.safe_open, sluice.safe_open)]

    def compare(self, calls, *objects):
        for call in calls:
            with self.subTest(call):
                theirs, ours = [answer(lambda: eval(call, {"np": numpy}, {"f": each})) for each in objects]
                self.assertEqual(ours, theirs)

    def test_a_file(self):
        path = self.shard(TENSORS, metadata={"format": "np", "who": "me"})
        calls = [
            "f.keys()", "f.offset_keys()", "f.metadata()", "f.get_tensor('nowhere')", "f.get_slice('nowhere')",
            "f.get_tensor(3)", "f.get_slice(b'b')", "f.get_slice('b').get_shape()", "f.get_slice('b').get_dtype()", "f.get_slice('a').get_shape()",
            "list(f.get_tensors())", "f.__enter__() is f",
        ] + [f"f.get_tensor({name!r})" for name, _, _ in TENSORS]
        self.compare(calls, *self.both(str(path), framework="np"))
        self.compare(["f.get_tensor('a')"], *self.both(path, "numpy", "cpu", backend="pread"))
        self.compare(["f.metadata()"], *self.both(self.shard(TENSORS, "plain.safetensors"), "np"))

    def test_slices(self):
        indices = [
            ":", "()", ":2", "2:5", "9:", "0:10", ":, :2", "2:4, 1:3", "0, :2", "2:, 0", "2:, -1", "-1", "3", "3, 4", "[]", ":0",
            "-11", "10", "[0, 1]", "2:, -6", "2:, 20", ":20", ":, :20", "10:", "2:, 7:9", "np.int64(3)", "True", "4, np.int32(2)",
        ]
        objects = [each.get_slice("b") for each in self.both(self.shard(TENSORS), "np")]
        self.compare([f"f[{index}]" for index in indices], *objects)
        cubes = [each.get_slice("cube") for each in self.both(self.shard(TENSORS), "np")]
        self.compare(["f[1]", "f[1, 2]", "f[1, 2, 3]", "f[:, 1:2, 2:4]", "f[0:1, :, 3]"], *cubes)
        self.compare(["f[()]"], *[each.get_slice("a") for each in self.both(self.shard(TENSORS), "np")])

    def test_a_closed_file(self):
        objects = self.both(self.shard(TENSORS), "np")
        slices = []
        for each in objects:
            with each as file:
                slices.append(file.get_slice("b"))
        self.compare(["f.keys()", "f.metadata()", "f.get_tensor('b')", "f.get_slice('b')", "f.get_tensors()"], *objects)
        self.compare(["f[2:4]", "f.get_shape()"], *slices)

    def test_what_cannot_be_opened(self):
        path = str(self.shard(TENSORS))
        for name, arguments in {
            "a file that is not there": ("notafile", "np"), "no framework": (path,), "another framework": (path, "xx"),
            "another device": (path, "np", "gpu"), "an accelerator": (path, "np", "cuda"), "its number": (path, "np", 1),
            "another of Apple's": (path, "np", "mps:1"), "no number of a device": (path, "np", -1),
            "a framework that is no text": (path, 3),
        }.items():
            with self.subTest(name):
                theirs, ours = [answer(lambda: open_(*arguments)) for open_ in (safetensors.safe_open, sluice.safe_open)]
                self.assertEqual(ours[:2], theirs[:2])
                if name != "no framework":
                    self.assertEqual(ours, theirs)
        theirs, ours = [answer(lambda: open_(path, "np", backend="x")) for open_ in (safetensors.safe_open, sluice.safe_open)]
        self.assertEqual(ours, theirs)
        with self.assertRaises(TypeError):
            sluice.safe_open(3, "np")

    def test_what_is_no_checkpoint(self):
        header, _ = header_of(TENSORS)
        texts = {
            "empty": b"", "short": header[:20], "text": b"not a checkpoint, but a text", "without data": header,
            "too long": header + b"\0" * 500,
        }
        for name, text in texts.items():
            path = self.folder / f"{name}.safetensors"
            path.write_bytes(text)
            theirs, ours = [answer(lambda: open_(path, "np")) for open_ in (safetensors.safe_open, sluice.safe_open)]
            self.assertEqual(ours[:2], ("raises", "SafetensorError"), name)
            self.assertEqual(theirs[0], "raises")
            prefix = "Error while deserializing header: "
            self.assertEqual(ours[2].startswith(prefix), theirs[2].startswith(prefix) or not text, name)

    def test_errors_are_both_safetensors_and_ours(self):
        path = self.folder / "empty.safetensors"
        path.write_bytes(b"")
        with self.assertRaises(safetensors.SafetensorError) as raised:
            sluice.safe_open(path, "np")
        self.assertIsInstance(raised.exception, sluice.Error)
        self.assertEqual((raised.exception.code, raised.exception.path), ("bad_header", str(path)))
        sent = pickle.loads(pickle.dumps(raised.exception))
        self.assertEqual((str(sent), sent.code, type(sent)), (str(raised.exception), "bad_header", type(raised.exception)))

    def test_load_file(self):
        import sluice.numpy

        path = self.shard(TENSORS)
        theirs, ours = safetensors.numpy.load_file(path), sluice.numpy.load_file(path)
        self.assertEqual(theirs.keys(), ours.keys())
        for name, array in ours.items():
            self.assertEqual(answer(lambda: array), answer(lambda: theirs[name]))
            array.flags.writeable or self.fail(name)

    def test_dtypes_of_ml_dtypes(self):
        import sluice.numpy

        names = ["BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"]
        for name, array in sluice.numpy.load_file(self.shard([(name, name, [4]) for name in names])).items():
            self.assertEqual(array.view(numpy.uint8).tobytes(), content(name, name, [4]))
            self.assertIn(str(array.dtype).replace("float", "").split("_")[0], ("b16", "8"))
        with self.assertRaises(TypeError):
            sluice.numpy.load_file(self.shard([("F4", "F4", [4])], "packed.safetensors"))

    def test_patch(self):
        path = self.shard(TENSORS)
        theirs = safetensors.safe_open
        with sluice.patch() as patch:
            self.assertIn("safetensors.safe_open", patch.replaced)
            self.assertIn("safetensors.numpy.safe_open", patch.replaced)
            self.assertIsNot(safetensors.safe_open, theirs)
            self.assertTrue(issubclass(safetensors.safe_open, sluice.safe_open))
            with safetensors.safe_open(path, framework="np", device="cpu", backend="mmap") as file:
                self.assertEqual(answer(lambda: file.get_tensor("b"))[3], content(*TENSORS[0]))
            self.assertIsNot(safetensors.numpy.load_file(path)["b"].base, None)
        self.assertIs(safetensors.safe_open, theirs)
        self.assertIs(safetensors.numpy.safe_open, theirs)
        first = sluice.patch()
        second = sluice.patch("cpu")
        first.undo()
        self.assertTrue(issubclass(safetensors.safe_open, sluice.safe_open))
        second.undo()
        self.assertIs(safetensors.safe_open, theirs)
        with self.assertRaises(safetensors.SafetensorError):
            sluice.patch("gpu")

    def test_patches_lie_upon_each_other(self):
        theirs = safetensors.safe_open
        with sluice.patch():
            outer = safetensors.safe_open
            with sluice.patch("cpu") as inner:
                self.assertNotIn(safetensors.safe_open, (outer, theirs))
                self.assertIn("safetensors.safe_open", inner.replaced)
            self.assertIs(safetensors.safe_open, outer)
            self.assertIs(safetensors.numpy.safe_open, outer)
            inner.undo()
            self.assertIs(safetensors.safe_open, outer)
        self.assertIs(safetensors.safe_open, theirs)

        def use():
            for _ in range(50):
                with sluice.patch():
                    if not issubclass(safetensors.safe_open, sluice.safe_open):
                        wrong.append(safetensors.safe_open)

        wrong = []
        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])
        self.assertIs(safetensors.safe_open, theirs)
        self.assertIs(safetensors.numpy.safe_open, theirs)


@unittest.skipUnless(numpy, "numpy is missing: scripts/setup installs it")
class Own(Case):
    def test_ranges_that_safetensors_has_not(self):
        slice_ = sluice.safe_open(self.shard(TENSORS), "np").get_slice("b")
        whole = slice_[:]
        for index in ((slice(-3, None),), (slice(None, None, 2),), (slice(1, 8, 3), -1), (Ellipsis, 2), (slice(4, 2),)):
            self.assertEqual(answer(lambda: slice_[index]), answer(lambda: numpy.ascontiguousarray(whole[index])))
        nothing = sluice.safe_open(self.shard(TENSORS), "np").get_slice("nothing")
        self.assertEqual(nothing[:].shape, (0, 3))

    def test_reads_ahead_in_the_order_of_the_file(self):
        tensors = [(f"t{i:03}", "U8", [1 << 12]) for i in range(300)]
        path = self.shard(tensors)
        for order in (tensors, tensors[::-1], tensors[::7], tensors + tensors[:20]):
            file = sluice.safe_open(path, "np")
            for tensor in order:
                self.assertEqual(file.get_tensor(tensor[0]).tobytes(), content(*tensor))

    def test_reads_again_what_was_stopped_while_it_was_read_ahead(self):
        tensors = [(f"t{i:03}", "U8", [1 << 12]) for i in range(100)]
        file = sluice.safe_open(self.shard(tensors), "np")
        for tensor in tensors[:10]:
            file.get_tensor(tensor[0])
        ahead = dict(file._file._ahead)
        self.assertTrue(ahead)
        for load in ahead.values():
            load.close()
        for tensor in tensors:
            self.assertEqual(file.get_tensor(tensor[0]).tobytes(), content(*tensor))

    def test_reads_nothing_for_a_name_with_wildcards_but_its_tensor(self):
        tensors = [("*", "U8", [9]), ("a", "U8", [1 << 20]), ("[a]?\\", "U8", [7])]
        file = sluice.safe_open(self.shard(tensors), "np")
        for tensor in tensors:
            load = file._file.start([tensor[0]], {tensor[0]: slice(2, 6)})
            self.assertEqual(dict(load).keys(), {tensor[0]})
            self.assertEqual(bytes(memoryview(load[tensor[0]])), content(*tensor)[2:6])

    def test_threads_share_a_file(self):
        tensors = [(f"t{i:03}", "U8", [1 << 10]) for i in range(200)]
        file = sluice.safe_open(self.shard(tensors), "np")
        wrong = []

        def read(its):
            for tensor in its:
                if file.get_slice(tensor[0])[:].tobytes() != content(*tensor):
                    wrong.append(tensor)

        threads = [threading.Thread(target=read, args=(tensors[i::4],)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_tells_of_a_tensor_what_the_header_says(self):
        meta = sluice.safe_open(self.shard(TENSORS), "np").get_tensor_meta("a")
        self.assertEqual((meta.dtype, meta.shape, meta.data_offsets), ("I64", [], (200, 208)))
        self.assertEqual(repr(meta), 'TensorMeta { dtype: "I64", shape: [], data_offsets: (200, 208) }')

    def test_prefetch_is_for_torch(self):
        with self.assertRaises(Exception) as raised:
            sluice.safe_open(self.shard(TENSORS), "np").prefetch()
        self.assertEqual(str(raised.exception), 'prefetch is only compatible with framework="pt"')

    def test_works_without_safetensors(self):
        script = """
            sys.modules["safetensors"] = None
            try:
                sluice.safe_open("nowhere", "np")
            except FileNotFoundError as error:
                print(error)
            try:
                sluice.safe_open(sys.argv[1], "np").get_tensor("nowhere")
            except Exception as error:
                print(type(error).__name__, error)
        """
        said, _ = self.run_script(script, self.shard(TENSORS))
        self.assertEqual(said, "No such file or directory: nowhere\nSafetensorError File does not contain tensor nowhere\n")


if __name__ == "__main__":
    unittest.main()
