#!/usr/bin/env python3
"""The command line as its users see it: objects, exit statuses, one-line messages, signals.

Method: writes small checkpoints by itself, computes digests by itself, runs the tool as a process and compares. Long
loads are sparse files of 1 TiB onto the null device, which only end because they are told to; nothing depends on how
fast anything is.
Usage: tool_test.py PATH_OF_SLUICE [unittest options]
"""

import fcntl
import hashlib
import json
import os
import pathlib
import pty
import re
import resource
import select
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import unittest

SLUICE = ""
TIMEOUT_S = 240

STATS_KEYS = {
    "bytes", "delivered_bytes", "seconds", "phases", "gb_per_s", "cpu_seconds", "reader", "io", "direct_bytes",
    "fallbacks", "extents", "copies", "launches", "peak_staging_bytes", "peak_resident_bytes",
    "window", "peak_arena_bytes",
}
PHASES = {"open", "plan", "start-up", "load"}


def sluice(*arguments, **options):
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    return subprocess.run([SLUICE, *arguments], stdin=subprocess.DEVNULL, timeout=TIMEOUT_S, **options)


def header_of(tensors):
    """tensors: (name, dtype, shape, bytes) in the order of the file. Returns the header and the length of the data."""
    entries, end = {}, 0
    for name, dtype, shape, size in tensors:
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text, end


def write_shard(path, tensors):
    """tensors: (name, dtype, shape, content) in the order of the file."""
    header, _ = header_of([(name, dtype, shape, len(content)) for name, dtype, shape, content in tensors])
    with open(path, "wb") as file:
        file.write(header)
        for *_, content in tensors:
            file.write(content)


def noise(seed, size):
    return hashlib.shake_128(str(seed).encode()).digest(size)


def bf16(value):
    """Of a finite float: to nearest, ties to even."""
    bits, = struct.unpack("<I", struct.pack("<f", value))
    return struct.pack("<H", (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)


FLOATS = [0.0, -0.0, 1.0, 1.00390625, 1.01171875, -3.14159, 1e-40, 3e38, 65504.0]
EARLIER_TRACE = '{"otherData":{"origin_ns":1,"dropped":0},\n"traceEvents":[\n\n]}\n'
ODD_NAME = "grüße/\n\x1b[31m\t\"\\ 模型 \u202e"


class ToolTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="sluice-tool-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def checkpoint(self, rows=1024, large=5_000_001):
        """Two shards with all that listings must cope with. Returns the folder and {name: (dtype, shape, content)}."""
        first = [
            ("a.weight", "F32", [3, 3], struct.pack("<9f", *FLOATS)),
            ("a.bias", "BF16", [5], noise(1, 10)),
            (ODD_NAME, "U8", [7], noise(2, 7)),
        ]
        second = [
            ("b.weight", "F16", [rows, 300], noise(3, rows * 300 * 2)),
            ("b.empty", "F32", [0, 4], b""),
            ("b.scalar", "I64", [], struct.pack("<q", -5)),
            ("b.large", "I8", [large], noise(4, large)),
        ]
        model = self.folder / "model"
        model.mkdir()
        write_shard(model / "m-00001-of-00002.safetensors", first)
        write_shard(model / "m-00002-of-00002.safetensors", second)
        return model, {name: (dtype, shape, content) for name, dtype, shape, content in first + second}

    def endless(self):
        path = self.folder / "endless.safetensors"
        size = 1 << 40
        header, _ = header_of([("t", "U8", [size], size)])
        with open(path, "wb") as file:
            file.write(header)
            file.truncate(len(header) + size)
        return path

    def json_of(self, *arguments):
        result = sluice(*arguments, "--json")
        self.assertEqual((result.returncode, result.stderr), (0, b""), result)
        return json.loads(result.stdout.decode())

    def check_fault(self, result, status, *said):
        self.assertEqual(result.returncode, status, result)
        self.assertIn(result.stdout, (b"", None), result)
        text = result.stderr.decode()
        self.assertTrue(text.startswith("sluice: ") and text.endswith("\n"), text)
        self.assertEqual(text.count("\n"), 1, text)
        self.assertFalse(re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text), text)
        for words in said:
            self.assertIn(words, text)


class Usage(ToolTest):
    def test_version_and_help_are_answers(self):
        version = sluice("--version")
        self.assertEqual(version.returncode, 0)
        self.assertRegex(version.stdout.decode(), r"^sluice \d+\.\d+\.\d+\n$")
        for arguments in (["--help"], ["-h"], ["load", "--help"], ["plan", "-h"], ["inspect", "--help"],
                          ["bench", "--help"], ["bench-link", "--help"], ["doctor", "--help"]):
            with self.subTest(arguments):
                result = sluice(*arguments)
                self.assertEqual((result.returncode, result.stderr), (0, b""))
                self.assertIn("Examples:", result.stdout.decode())
                self.assertLessEqual(max(map(len, result.stdout.decode().splitlines())), 120)

    def test_help_tells_of_every_option(self):
        source = pathlib.Path(__file__).parents[2] / "loader/tool/arguments.cpp"
        declared = set(re.findall(r'(?:value|add_flag)\("(--[a-z-]+)"', source.read_text()))
        self.assertIn("--queue-depth", declared)
        told = "".join(sluice(command, "--help").stdout.decode() for command in ("load", "plan", "bench"))
        for option in declared:
            self.assertIn(option, told)

    def test_wrong_usage_is_status_2_and_one_line(self):
        model, _ = self.checkpoint()
        path = str(model)
        wrong = [
            [], ["lod"], ["bench"], ["--json", "load", path], ["load"], ["plan"], ["inspect"], ["load", ""],
            ["load", path, path], ["inspect", path, "--dtype", "F16"], ["doctor", path, path],
            ["load", path, "--slice", "*:0:2/2"], ["load", path, "--trace", ""], ["load", path, "--trace"],
            ["inspect", path, "--trace", "x"], ["load", path, "--nonsense"],
            ["load", path, "--json=false"], ["load", path, "--json=yes"],
            ["load", path, "--device"], ["load", path, "--device", "gpu"], ["load", path, "--device", ""],
            ["load", path, "--device", "cuda:-1"], ["load", path, "--device", "cuda:x"],
            ["load", path, "--device", "cuda:0,cuda:0"], ["load", path, "--device", "host,"],
            ["load", path, "--device", "host", "--device", "null"], ["load", path, "--device", "cuda:99999999999"],
            ["load", path, "--dtype", "F33"], ["load", path, "--dtype", "U8"], ["load", path, "--dtype", "float16"],
            ["load", path, "--dtype", "F4"], ["load", path, "--dtype", ""],
            ["load", path, "--digest"], ["load", path, "--digest", "md5"],
            ["load", path, "--digest", "sha256", "--device", "null"],
            ["load", path, "--digest", "sha256", "--device", "host,null"],
            ["load", path, "--digest", "sha256", "--reader", "null"],
            ["load", path, "--io", "mmap"], ["load", path, "--reader", "aio"], ["load", path, "--select", ""],
            ["load", path, "--threads", "0"], ["load", path, "--threads", "257"], ["load", path, "--threads", "two"],
            ["load", path, "--queue-depth", "0"], ["load", path, "--queue-depth", "257"],
            ["load", path, "--slab", "65537"], ["load", path, "--slab", "256MiB"], ["load", path, "--slab", "0"],
            ["load", path, "lo\nad"], ["\x1b[31m"],
        ]
        for size in ("", "0", "-1", "-64MiB", "+5", "1", "64", "12XB", "MiB", "64 MiB", "1.5GiB", "1e9", "0x1000000",
                     "nan", "64MiBMiB", "2TiB", "18446744073709551616", "99999999999999999999999", "17179869184GiB"):
            wrong.append(["load", path, "--staging", size])
            wrong.append(["plan", path, f"--staging={size}"])
        for arguments in wrong:
            with self.subTest(arguments):
                self.check_fault(sluice(*arguments), 2, "--help")

    def test_usage_is_judged_before_the_path(self):
        self.check_fault(sluice("load", "/nowhere", "--staging", "-1"), 2, "--staging")
        self.check_fault(sluice("load", "/nowhere"), 1, "/nowhere")

    def test_paths_may_look_like_options_and_commands(self):
        content = noise(5, 4)
        for name in ("-odd.safetensors", "load", "[x].safetensors"):
            write_shard(self.folder / name, [("t", "U8", [4], content)])
            result = sluice("inspect", "--json", "--", name, cwd=self.folder)
            self.assertEqual(result.returncode, 0, result)
            self.assertEqual(json.loads(result.stdout)["tensors"][0]["shard"], name)


class Inspect(ToolTest):
    def test_json_lists_what_the_files_hold_in_their_order(self):
        model, tensors = self.checkpoint()
        listed = self.json_of("inspect", str(model))
        self.assertEqual(set(listed), {"tensors"})
        self.assertEqual([entry["name"] for entry in listed["tensors"]], list(tensors))
        for entry in listed["tensors"]:
            self.assertEqual(list(entry), ["name", "dtype", "shape", "bytes", "shard", "offset"])
            dtype, shape, content = tensors[entry["name"]]
            self.assertEqual((entry["dtype"], entry["shape"], entry["bytes"]), (dtype, shape, len(content)))
            shard = (model / entry["shard"]).read_bytes()
            self.assertEqual(shard[entry["offset"]:entry["offset"] + entry["bytes"]], content)

    def test_a_single_shard_is_named_as_a_file(self):
        model, _ = self.checkpoint()
        listed = self.json_of("inspect", str(model / "m-00001-of-00002.safetensors"))
        self.assertEqual({entry["shard"] for entry in listed["tensors"]}, {"m-00001-of-00002.safetensors"})
        result = sluice("inspect", "m-00001-of-00002.safetensors", "--json", cwd=model)
        self.assertEqual(json.loads(result.stdout), listed)

    def test_table_names_every_tensor_and_obeys_none(self):
        model, tensors = self.checkpoint()
        result = sluice("inspect", str(model))
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        text = result.stdout.decode()
        for name in tensors:
            if name != ODD_NAME:
                self.assertIn(name, text)
        self.assertIn("grüße/\\n\\x1b[31m\\t\"\\ 模型 \\u202e", text)
        self.assertFalse(re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", text))
        self.assertIn("7 tensors", text)

    def test_select_takes_names_and_globs(self):
        model, _ = self.checkpoint()
        names = lambda *selects: [
            entry["name"]
            for entry in self.json_of("inspect", str(model), *(f"--select={glob}" for glob in selects))["tensors"]
        ]
        self.assertEqual(names("*.weight"), ["a.weight", "b.weight"])
        self.assertEqual(names("b.scalar", "a.*"), ["a.weight", "a.bias", "b.scalar"])
        self.assertEqual(names("[a].weight", "?.scalar"), ["a.weight", "b.scalar"])
        self.assertEqual(names("a.weight", "a.weight"), ["a.weight"])
        self.check_fault(sluice("inspect", str(model), "--select", "c.*"), 1, "c.*", str(model))
        # A value is one argument: what follows it is the path.
        self.assertEqual(sluice("inspect", "--select", "a.*", str(model)).returncode, 0)

    def test_no_tensors_are_an_empty_list(self):
        path = self.folder / "empty.safetensors"
        write_shard(path, [])
        self.assertEqual(self.json_of("inspect", str(path)), {"tensors": []})
        self.assertEqual(self.json_of("load", str(path))["tensors"], [])
        self.assertEqual(self.json_of("load", str(path), "--digest", "sha256")["tensors"], [])
        self.assertEqual(self.json_of("plan", str(path))["tensors"], [])
        for command in ("inspect", "load", "plan"):
            self.assertEqual(sluice(command, str(path)).returncode, 0)
            self.check_fault(sluice(command, str(path), "--select", "*"), 1)

    def test_what_cannot_be_opened_is_one_line_with_the_place(self):
        broken = self.folder / "broken.safetensors"
        broken.write_bytes(struct.pack("<Q", 1 << 40) + b"{}")
        pickled = self.folder / "pytorch_model.bin"
        pickled.write_bytes(b"\x80\x02}q\x00.")
        hostile = self.folder / "line\nfeed \x1b[2J.safetensors"
        hostile.write_bytes(b"no")
        fifo = self.folder / "fifo.safetensors"
        os.mkfifo(fifo)
        nothing = self.folder / "nothing"
        nothing.mkdir()
        for path, said in ((broken, "broken.safetensors"), (pickled, "pytorch_model.bin"), (hostile, "line\\nfeed"),
                           (fifo, "fifo.safetensors"), (nothing, "nothing"), (self.folder / "gone", "gone")):
            for command in ("inspect", "plan", "load"):
                with self.subTest(command=command, path=path):
                    self.check_fault(sluice(command, str(path), "--json"), 1, said)

    def test_paths_that_are_not_utf8_do_not_break_the_listing(self):
        folder = os.fsencode(self.folder) + b"/caf\xe9"
        try:
            os.mkdir(folder)
        except OSError as error:
            self.skipTest(f"this file system takes UTF-8 only: {error}")
        write_shard(folder + b"/\xff.safetensors", [("t", "U8", [1], b"x")])
        listed = json.loads(sluice(b"inspect", folder, b"--json").stdout.decode())
        self.assertEqual(listed["tensors"][0]["shard"], "\ufffd.safetensors")
        result = sluice(b"load", folder)
        self.assertEqual(result.returncode, 0)
        self.assertIn("caf\\xe9", result.stdout.decode())
        self.check_fault(sluice(b"load", folder + b"/\xfe.safetensors"), 1, "\\xfe")


    def test_names_are_spelled_as_json_has_it(self):
        names = ['quoted "name"', "back\\slash", "line\nfeed", "\x01\x1f\x7f", "caf\u00e9 \u2028 \U0001f600", ""]
        path = self.folder / "names.safetensors"
        write_shard(path, [(name, "U8", [1], b"x") for name in names])
        for command in ("inspect", "plan", "load"):
            listed = self.json_of(command, str(path))
            self.assertEqual([entry["name"] for entry in listed["tensors"]], names)


class Load(ToolTest):
    def check_load(self, loaded, tensors, devices=("host",)):
        self.assertEqual(set(loaded), {"tensors", "stats"})
        self.assertEqual([(entry["name"], entry["device"]) for entry in loaded["tensors"]],
                         [(name, device) for name in tensors for device in devices])
        stats = loaded["stats"]
        self.assertEqual(set(stats), STATS_KEYS)
        self.assertEqual(set(stats["phases"]), PHASES)
        self.assertEqual(stats["delivered_bytes"], sum(entry["bytes"] for entry in loaded["tensors"]))
        for fallback in stats["fallbacks"]:
            self.assertEqual(set(fallback), {"what", "reason"})

    def test_digests_are_those_of_the_bytes_in_the_files(self):
        model, tensors = self.checkpoint()
        loaded = self.json_of("load", str(model), "--digest", "sha256")
        self.check_load(loaded, tensors)
        for entry in loaded["tensors"]:
            self.assertEqual(list(entry), ["name", "dtype", "shape", "bytes", "device", "digest"])
            dtype, shape, content = tensors[entry["name"]]
            self.assertEqual((entry["dtype"], entry["shape"], entry["bytes"]), (dtype, shape, len(content)))
            self.assertEqual(entry["digest"], hashlib.sha256(content).hexdigest(), entry["name"])
        stats = loaded["stats"]
        self.assertGreaterEqual(stats["bytes"], sum(len(content) for *_, content in tensors.values()))
        self.assertGreater(stats["seconds"], 0)
        self.assertAlmostEqual(stats["gb_per_s"], stats["bytes"] / stats["seconds"] / 1e9)
        self.assertIn(stats["reader"], ("uring", "pread"))
        self.assertIn(stats["io"], ("direct", "buffered", "mixed"))
        self.assertLessEqual(stats["peak_staging_bytes"], 128 << 20)
        self.assertGreater(stats["peak_resident_bytes"], 0)

    def test_every_way_of_reading_gives_the_same_digests(self):
        model, tensors = self.checkpoint()
        expected = [hashlib.sha256(content).hexdigest() for *_, content in tensors.values()]
        for options in (["--reader", "pread"], ["--io", "buffered"], ["--io", "direct"],
                        ["--staging", "256KiB"], ["--staging", "1M", "--slab", "64K", "--queue-depth", "1"],
                        ["--reader", "pread", "--io", "direct", "--threads", "1"], ["--staging=2000KB"]):
            with self.subTest(options):
                loaded = self.json_of("load", str(model), "--digest", "sha256", *options)
                self.assertEqual([entry["digest"] for entry in loaded["tensors"]], expected)

    def test_the_reader_that_was_asked_for_is_the_one_that_ran(self):
        model, tensors = self.checkpoint()
        loaded = self.json_of("load", str(model), "--reader", "pread", "--io", "buffered")
        self.assertEqual((loaded["stats"]["reader"], loaded["stats"]["io"]), ("pread", "buffered"))
        self.assertEqual(loaded["stats"]["direct_bytes"], 0)
        loaded = self.json_of("load", str(model), "--reader", "null")
        self.check_load(loaded, tensors)
        self.assertEqual(loaded["stats"]["reader"], "null")

    def test_the_null_device_takes_and_forgets(self):
        model, tensors = self.checkpoint()
        loaded = self.json_of("load", str(model), "--device", "null")
        self.check_load(loaded, tensors, devices=("null",))
        self.assertNotIn("digest", loaded["tensors"][0])

    def test_dtype_casts_what_can_be_cast_and_leaves_the_rest(self):
        model, tensors = self.checkpoint()
        for spelling in ("BF16", "bf16"):
            loaded = self.json_of("load", str(model), "--dtype", spelling, "--digest", "sha256")
            self.check_load(loaded, tensors)
            entries = {entry["name"]: entry for entry in loaded["tensors"]}
            self.assertEqual({name for name, entry in entries.items() if entry["dtype"] == "BF16"},
                             {"a.weight", "a.bias", "b.weight", "b.empty"})
            self.assertEqual(entries["a.weight"]["bytes"], 18)
            self.assertEqual(entries["a.weight"]["digest"],
                             hashlib.sha256(b"".join(map(bf16, FLOATS))).hexdigest())
            self.assertEqual(entries["b.large"]["digest"], hashlib.sha256(tensors["b.large"][2]).hexdigest())

    def test_select_loads_only_that(self):
        model, tensors = self.checkpoint()
        loaded = self.json_of("load", str(model), "--select", "b.s*", "--select", "a.bias")
        self.check_load(loaded, ["a.bias", "b.scalar"])
        self.check_fault(sluice("load", str(model), "--select", "a.*", "--select", "no.such"), 1, "no.such")
        self.check_fault(sluice("load", str(model), "--select", "b.weigh"), 1, "b.weight")
        self.assertLess(loaded["stats"]["bytes"], 1 << 20)

    def test_slice_loads_a_part(self):
        path = self.folder / "matrices.safetensors"
        content = {name: noise(name, 24) for name in ("a.q:x", "a.o", "norm")}
        write_shard(path, [(name, "U8", [4, 6], content[name]) for name in content])

        def loaded(*options):
            found = self.json_of("load", str(path), "--digest", "sha256", *options)["tensors"]
            return {entry["name"]: (entry["shape"], entry["digest"]) for entry in found}

        def part(name, rows, columns):
            want = b"".join(content[name][6 * row:6 * row + 6][columns] for row in range(4)[rows])
            shape = [len(range(4)[rows]), len(range(6)[columns])]
            return shape, hashlib.sha256(want).hexdigest()

        all_of = slice(None)
        whole = {name: part(name, all_of, all_of) for name in content}
        self.assertEqual(loaded(), whole)
        self.assertEqual(loaded("--slice", "a.q:x:0:1/2"), whole | {"a.q:x": part("a.q:x", slice(2, 4), all_of)})
        self.assertEqual(loaded("--slice", "a.*:1:2/3", "--slice", "a.o:0:0/4"),
                         whole | {name: part(name, all_of, slice(4, 6)) for name in ("a.q:x", "a.o")},
                         "the first that matches decides")
        self.assertEqual(loaded("--slice", "a.o:0"), whole, "one device, one part")
        self.assertEqual(loaded("--select", "a.o", "--select", "norm", "--slice", "a.*:0:3/4", "--slice", "norm:1:0/2"),
                         {"a.o": part("a.o", slice(3, 4), all_of), "norm": part("norm", all_of, slice(0, 3))})
        self.assertEqual(loaded("--select", "a.o", "--slice", "a.o:1:0/6"), {"a.o": part("a.o", all_of, slice(0, 1))})
        planned = self.json_of("plan", str(path), "--device", "cuda:0,cuda:1", "--slice", "a.q:x:1")["tensors"]
        self.assertEqual([entry["shape"] for entry in planned if entry["name"] == "a.q:x"], [[4, 3], [4, 3]])
        self.assertEqual([entry["shape"] for entry in planned if entry["name"] == "norm"], [[4, 6], [4, 6]])

    def test_slice_that_does_not_fit_says_so(self):
        path = self.folder / "matrix.safetensors"
        write_shard(path, [("a", "U8", [4, 6], noise("a", 24))])
        self.check_fault(sluice("load", str(path), "--slice", "a:0:0/3"), 1, '"a"', "dimension 0 has 4", "3 parts")
        self.check_fault(sluice("plan", str(path), "--slice", "a:2:0/2"), 1, '"a"', "no dimension 2")
        self.check_fault(sluice("load", str(path), "--slice", "b*:0"), 1, "b*", "--slice")
        for wrong in ("a", "a:x", "a:-1", ":0", "a:0:2/2", "a:0:1", "a:0:1/", "a:0:/2", "a:64", "a:0:1/2/3", ""):
            result = sluice("load", str(path), "--slice", wrong)
            if wrong == "a:0:1":  # GLOB a:0, DIM 1
                self.check_fault(result, 1, "a:0")
            else:
                self.assertEqual(result.returncode, 2, wrong)
                self.assertIn(b"--slice", result.stderr)

    def test_table_says_what_it_took(self):
        model, _ = self.checkpoint()
        result = sluice("load", str(model), "--digest", "sha256")
        self.assertEqual((result.returncode, result.stderr), (0, b""), result)
        text = result.stdout.decode()
        for words in ("7 tensors", "2 shards", "GB/s", "s a GB", "start-up", "staging", "a.weight",
                      hashlib.sha256(struct.pack("<q", -5)).hexdigest()):
            self.assertIn(words, text)

    def test_a_device_that_is_not_there_is_the_machines_fault(self):
        model, _ = self.checkpoint()
        self.check_fault(sluice("load", str(model), "--device", "cuda:63", "--json"), 1, "cuda:63")

    def test_a_shard_that_was_cut_short_is_an_error_with_its_path(self):
        model, _ = self.checkpoint()
        shard = model / "m-00002-of-00002.safetensors"
        os.truncate(shard, shard.stat().st_size - 1)
        self.check_fault(sluice("load", str(model)), 1, shard.name)


def rows_of(test, path):
    """The spans of a trace by row, as (begin, end, name, arguments), once it is sure that a viewer can show them: times
    are made whole nanoseconds as Perfetto makes them, and those of a thread are disjoint."""
    trace = json.loads(path.read_bytes())
    test.assertEqual(trace["otherData"]["dropped"], 0)
    names, threads = {}, {}
    for event in trace["traceEvents"]:
        test.assertEqual(event["pid"], 1)
        if event["ph"] == "M":
            if event["name"] == "thread_name":
                names[event["tid"]] = event["args"]["name"]
            continue
        test.assertEqual(event["ph"], "X")
        begin = int(event["ts"] * 1000)
        span = (begin, begin + int(event["dur"] * 1000), event["name"], event["args"])
        threads.setdefault(event["tid"], []).append(span)
    test.assertEqual(set(names), set(threads))
    test.assertEqual(len(set(names.values())), len(names))
    rows = {}
    for thread, spans in threads.items():
        for before, after in zip(spans, spans[1:]):
            test.assertLessEqual(before[1], after[0], names[thread])
        rows.setdefault(re.sub(r" \d+$", "", names[thread]), []).extend(spans)
    return rows


class Trace(ToolTest):
    def test_a_trace_shows_every_extent_in_rows_that_do_not_overlap(self):
        model, _ = self.checkpoint()
        path = self.folder / "trace.json"
        path.write_text(EARLIER_TRACE + " " * 1_000_000)  # replaced, not written over
        loaded = self.json_of("load", str(model), "--dtype", "F16", "--slab", "64KiB", "--trace", str(path))
        rows = rows_of(self, path)
        self.assertEqual(set(rows), {"caller", "engine", "reader", "host"})
        self.assertEqual([name for _, _, name, _ in rows["caller"]][:2], ["open", "plan"])
        self.assertEqual(rows["engine"][0][2], "start-up")
        stats = loaded["stats"]
        self.assertEqual(sorted(arguments["extent"] for *_, arguments in rows["reader"]), list(range(stats["extents"])))
        self.assertEqual(sum(arguments["bytes"] for *_, arguments in rows["reader"]), stats["bytes"])

    def test_a_file_that_cannot_be_written_is_told_before_the_load(self):
        endless = str(self.endless())  # a load that would not end
        for path, said in ((self.folder / "none/x", "No such file"), (self.folder, "directory"), ("/proc/x", "folder")):
            with self.subTest(path=path):
                self.check_fault(sluice("load", endless, "--device", "null", "--trace", str(path)), 1, str(path), said)

    def test_a_full_disk_is_the_machines_fault(self):
        model, _ = self.checkpoint()
        self.check_fault(sluice("load", str(model), "--trace", "/dev/full"), 1, "/dev/full", "free some space")

    def test_a_load_that_fails_leaves_no_file_and_spoils_none(self):
        model, _ = self.checkpoint()
        shard = model / "m-00002-of-00002.safetensors"
        os.truncate(shard, shard.stat().st_size - 1)
        new, old = self.folder / "new.json", self.folder / "old.json"
        old.write_text(EARLIER_TRACE)
        before = self.files()
        for path in (new, old):
            self.check_fault(sluice("load", str(model), "--trace", str(path)), 1, shard.name)
        self.assertEqual(self.files(), before)

    def files(self):
        return {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}

    def test_what_is_neither_empty_nor_a_trace_is_not_replaced(self):
        """The checkpoint's own files, before all, whatever way leads to them."""
        model, _ = self.checkpoint()
        shard = model / "m-00001-of-00002.safetensors"
        index = model / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": {
            name: f"m-0000{1 if name in ('a.weight', 'a.bias', ODD_NAME) else 2}-of-00002.safetensors"
            for name in ("a.weight", "a.bias", ODD_NAME, "b.weight", "b.empty", "b.scalar", "b.large")}}))
        link, hard_link, short, other = (self.folder / name for name in ("link", "hard", "short", "other.json"))
        link.symlink_to(shard)
        os.link(shard, hard_link)
        short.write_text("{")
        other.write_text('{"traceEvents":[]}' + " " * 100)  # somebody else's
        before = self.files()
        for path in (shard, index, link, hard_link, short, other):
            with self.subTest(path=path):
                # The path of the checkpoint is judged later: nothing has been read by then.
                for checkpoint in (model, self.folder / "none"):
                    self.check_fault(sluice("load", str(checkpoint), "--trace", str(path)), 1, str(path), "new file")
                self.assertEqual(self.files(), before)
        self.assertTrue(link.is_symlink())
        self.assertEqual(sluice("load", str(model), "--digest", "sha256").returncode, 0)

    def test_a_link_stays_and_leads_to_the_trace(self):
        model, _ = self.checkpoint()
        (self.folder / "traces").mkdir()
        for name in ("there.json", "not yet.json"):
            target, link = self.folder / "traces" / name, self.folder / f"link to {name}"
            if name == "there.json":
                target.write_text("")
                target.chmod(0o640)
            link.symlink_to(f"traces/{name}")
            self.assertEqual(sluice("load", str(model), "--trace", str(link)).returncode, 0)
            self.assertTrue(link.is_symlink())
            self.assertEqual(set(rows_of(self, target)), {"caller", "engine", "reader", "host"})
        self.assertEqual(stat.S_IMODE((self.folder / "traces/there.json").stat().st_mode), 0o640)
        self.assertEqual(len(os.listdir(self.folder / "traces")), 2)

    def test_a_new_trace_has_the_permissions_of_any_new_file(self):
        model, _ = self.checkpoint()
        path = self.folder / "trace.json"
        sluice("load", str(model), "--trace", str(path), preexec_fn=lambda: os.umask(0o027))
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o640)

    def test_what_cannot_be_replaced_is_written_in_place(self):
        model, _ = self.checkpoint()
        self.assertEqual(sluice("load", str(model), "--trace", "/dev/null").returncode, 0)
        fifo = self.folder / "fifo"
        os.mkfifo(fifo)
        reader = subprocess.Popen(["cat", str(fifo)], stdout=subprocess.PIPE)
        self.addCleanup(reader.kill)
        self.assertEqual(sluice("load", str(model), "--trace", str(fifo)).returncode, 0)
        self.assertIn("traceEvents", json.loads(reader.communicate(timeout=TIMEOUT_S)[0]))
        self.assertTrue(stat.S_ISFIFO(fifo.stat().st_mode))

    def test_standard_output_takes_the_trace_before_the_rest(self):
        model, _ = self.checkpoint()
        told = self.folder / "told"
        for name in ("/dev/stdout", "/proc/self/fd/1", str(told)):
            with self.subTest(name), open(told, "wb") as file:
                file.write(b"before\n")
                file.flush()
                self.assertEqual(sluice("load", str(model), "--json", "--trace", name, stdout=file).returncode, 0)
                text = told.read_text()
                self.assertTrue(text.startswith("before\n" + EARLIER_TRACE[:20]), text[:100])
                decoder = json.JSONDecoder()
                trace, end = decoder.raw_decode(text, len("before\n"))
                self.assertIn("traceEvents", trace)
                self.assertIn("stats", json.loads(text[end:]))
        piped = sluice("load", str(model), "--json", "--trace", "/dev/stdout").stdout.decode()
        self.assertIn("traceEvents", json.JSONDecoder().raw_decode(piped)[0])


class Limits(ToolTest):
    """What the process may have is short: one line says of what, and how to have more."""

    @staticmethod
    def ordinary_user_with(limit, most):
        def prepare():
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresuid(65534, 65534, 65534)
            resource.setrlimit(limit, (most, most))
        return prepare

    def readable_checkpoint(self):
        model, _ = self.checkpoint(rows=1, large=1_000_001)
        self.folder.chmod(0o755)
        return model

    def test_descriptors(self):
        if b"__asan_init" in pathlib.Path(SLUICE).read_bytes():
            self.skipTest("the sanitizer needs a pipe of its own to look at memory")
        model = self.readable_checkpoint()
        shard = model / "m-00001-of-00002.safetensors"
        refused = 0
        for most in range(4, 16):
            for path in (model, shard):
                result = sluice("load", str(path), "--trace", str(self.folder / "trace.json"), "--json",
                                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most)))
                if result.returncode == 127:
                    continue  # too few to load the program's libraries
                with self.subTest(most=most, path=path):
                    if result.returncode != 0:
                        self.check_fault(result, 1, "Too many open files", "ulimit -n")
                        refused += 1
        self.assertGreater(refused, 0)
        self.assertEqual(sluice("load", str(model)).returncode, 0)

    def test_no_thread(self):
        if b"__tsan_init" in pathlib.Path(SLUICE).read_bytes():
            self.skipTest("the thread sanitizer has a thread of its own")
        model = self.readable_checkpoint()
        with tempfile.TemporaryDirectory(prefix="sluice-tool-") as folder:
            os.chmod(folder, 0o755)
            tool = pathlib.Path(folder) / "sluice"  # the build's folder need not be open to everybody
            shutil.copy2(SLUICE, tool)
            result = subprocess.run([tool, "load", str(model)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, timeout=TIMEOUT_S, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},
                                    preexec_fn=self.ordinary_user_with(resource.RLIMIT_NPROC, 0))
        self.check_fault(result, 1, "thread", "ulimit -u")

    def test_the_size_of_a_file(self):
        model = self.readable_checkpoint()
        trace, told = self.folder / "trace.json", self.folder / "told"
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
        before = sorted(self.folder.iterdir())
        self.check_fault(sluice("load", str(model), "--trace", str(trace), preexec_fn=limit), 1, str(trace), "ulimit -f")
        self.assertEqual(sorted(self.folder.iterdir()), before)
        with open(told, "wb") as file:
            result = sluice("load", "--help", stdout=file, preexec_fn=limit)
            self.check_fault(result, 1, "standard output", "ulimit -f")


class Plan(ToolTest):
    def test_plan_prints_what_the_load_then_does(self):
        model, _ = self.checkpoint()
        for options in ([], ["--dtype", "F16"], ["--device", "null", "--staging", "1MiB"], ["--select", "*.weight"]):
            with self.subTest(options):
                planned = self.json_of("plan", str(model), *options)
                loaded = self.json_of("load", str(model), *options)
                self.assertEqual(planned["tensors"], loaded["tensors"])
                self.assertEqual(set(planned["stats"]), STATS_KEYS)
                self.assertEqual(set(planned["stats"]["phases"]), PHASES)
                for key in ("bytes", "delivered_bytes", "extents", "copies", "launches"):
                    self.assertEqual(planned["stats"][key], loaded["stats"][key], key)
                self.assertLessEqual(loaded["stats"]["peak_staging_bytes"], planned["stats"]["peak_staging_bytes"])
                self.assertIsNone(planned["stats"]["seconds"])

    def test_gpus_need_no_driver(self):
        model, tensors = self.checkpoint()
        planned = self.json_of("plan", str(model), "--device", "cuda:0,cuda:1", "--dtype", "BF16")
        self.assertEqual([(entry["name"], entry["device"]) for entry in planned["tensors"]],
                         [(name, device) for name in tensors for device in ("cuda:0", "cuda:1")])
        result = sluice("plan", str(model), "--device", "cuda:0,cuda:1")
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        self.assertIn("cuda:1", result.stdout.decode())

    def test_a_model_larger_than_memory_can_be_planned(self):
        planned = self.json_of("plan", str(self.endless()))
        self.assertEqual(planned["tensors"][0]["bytes"], 1 << 40)

    def test_options_of_load_are_taken(self):
        model, _ = self.checkpoint()
        planned = self.json_of("plan", str(model), "--digest", "sha256", "--reader", "pread", "--io", "buffered",
                               "--trace", str(self.folder / "trace.json"))
        self.assertFalse((self.folder / "trace.json").exists())
        self.assertEqual((planned["stats"]["reader"], planned["stats"]["io"]), ("pread", "buffered"))


class StandardOutput(ToolTest):
    def commands(self):
        model, _ = self.checkpoint()
        path = str(model)
        return (["--version"], ["--help"], ["inspect", path], ["inspect", path, "--json"], ["plan", path, "--json"],
                ["load", path], ["load", path, "--json"], ["doctor"])

    def test_full(self):
        for arguments in self.commands():
            with self.subTest(arguments), open("/dev/full", "wb") as full:
                self.check_fault(sluice(*arguments, stdout=full), 1, "standard output", "No space left")

    def test_closed(self):
        for arguments in self.commands():
            with self.subTest(arguments):
                result = subprocess.run(["sh", "-c", 'exec "$0" "$@" >&-', SLUICE, *arguments], timeout=TIMEOUT_S,
                                        stderr=subprocess.PIPE)
                self.check_fault(result, 1, "standard output")

    def test_pipe_whose_reader_has_gone(self):
        for arguments in self.commands():
            with self.subTest(arguments):
                reading, writing = os.pipe()
                os.close(reading)
                try:
                    self.check_fault(sluice(*arguments, stdout=writing), 1, "standard output")
                finally:
                    os.close(writing)

    def test_all_descriptors_closed_is_still_a_status(self):
        model, _ = self.checkpoint()
        command = 'exec "$0" "$@" <&- >&- 2>&-'
        result = subprocess.run(["sh", "-c", command, SLUICE, "load", str(model)], timeout=TIMEOUT_S)
        self.assertEqual(result.returncode, 1)

    def test_without_standard_error_the_work_is_done(self):
        model, tensors = self.checkpoint()
        command = 'exec "$0" "$@" <&- 2>&-'
        result = subprocess.run(["sh", "-c", command, SLUICE, "load", str(model), "--json"], timeout=TIMEOUT_S,
                                stdout=subprocess.PIPE)
        self.assertEqual(result.returncode, 0)
        self.assertEqual(len(json.loads(result.stdout)["tensors"]), len(tensors))


class Rules(ToolTest):
    """--rules and --set, and the plan in their words."""

    FILE = """
use config.json
strict
let rows = n / world
for l in 0 .. 2
tensor {l}.qk BF16 [rows + 2, 4] group l + 1
l.{l}.q[part rank of world] -> {l}.qk[: rows]
l.{l}.k -> {l}.qk[rows :]
end
tensor experts BF16 [6, 2, 4]
e.{e}.w -> experts[e]
norm cast F32 group 3
*.unused skip
"""

    def model(self):
        model = self.folder / "small"
        model.mkdir()
        tensors = [(name, "BF16", shape, noise(name, 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)))
                   for name, shape in ([(f"l.{l}.{kind}", [rows, 4]) for l in range(2) for kind, rows in (("q", 8), ("k", 2))]
                                       + [(f"e.{e}.w", [2, 4]) for e in range(6)] + [("x.unused", [4])])]
        tensors.append(("norm", "BF16", [5], b"".join(bf16(value) for value in range(5))))
        write_shard(model / "model.safetensors", tensors)
        (model / "config.json").write_text('{"n": 8, "name": "small"}')
        return str(model), {name: content for name, _, _, content in tensors}

    def rules(self, text=FILE):
        path = self.folder / "my.rules"
        path.write_text(text)
        return str(path)

    def test_a_load_delivers_destinations_with_their_origins(self):
        model, content = self.model()
        loaded = self.json_of("load", model, "--rules", self.rules(), "--set", "world=2", "--set", "rank=1", "--digest",
                              "sha256")
        entries = {entry["name"]: entry for entry in loaded["tensors"]}
        self.assertEqual(list(entries), ["0.qk", "1.qk", "experts", "norm"])
        for entry in loaded["tensors"]:
            self.assertEqual(list(entry), ["name", "dtype", "shape", "bytes", "device", "digest", "group", "from"])
        for l in range(2):
            entry = entries[f"{l}.qk"]
            self.assertEqual((entry["dtype"], entry["shape"], entry["group"]), ("BF16", [6, 4], l + 1))
            wanted = content[f"l.{l}.q"][32:] + content[f"l.{l}.k"]
            self.assertEqual(entry["digest"], hashlib.sha256(wanted).hexdigest())
            self.assertEqual(entry["from"], [{"tensor": f"l.{l}.q", "slice": "[4:8, :]", "into": "[0:4, :]"},
                                             {"tensor": f"l.{l}.k", "slice": "", "into": "[4:6, :]"}])
        self.assertEqual(entries["norm"]["digest"], hashlib.sha256(struct.pack("<5f", *range(5))).hexdigest())
        self.assertEqual((entries["norm"]["group"], entries["norm"]["from"]),
                         (3, [{"tensor": "norm", "slice": "", "into": ""}]))

    def test_devices_are_ranks_where_none_are_set(self):
        model, _ = self.model()
        planned = self.json_of("plan", model, "--rules", self.rules(), "--device", "cuda:0,cuda:1")
        slices = {entry["device"]: entry["from"][0]["slice"] for entry in planned["tensors"] if entry["name"] == "0.qk"}
        self.assertEqual(slices, {"cuda:0": "[0:4, :]", "cuda:1": "[4:8, :]"})
        self.assertEqual(set(planned["stats"]), STATS_KEYS)

    def test_a_plan_says_what_the_file_comes_to(self):
        model, _ = self.model()
        result = sluice("plan", model, "--rules", self.rules(), "--set", "world=2", "--set", "rank=1")
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        text = result.stdout.decode()
        self.assertIn("""
  host  0.qk  BF16 [6, 4]  48 B  group 1
            [0:4, :]  <- l.0.q [4:8, :]
            [4:6, :]  <- l.0.k
""", text)
        self.assertIn("""
  host  experts  BF16 [6, 2, 4]  96 B
            [0, :, :]  <- e.0.w
            [1, :, :]  <- e.1.w
            [2, :, :]  <- e.2.w
            [3, :, :]  <- e.3.w    ... 2 more
  host  norm  F32 [5]  20 B  group 3

""", text)
        self.assertIn("  rules       12 of 12 tensors matched, 1 of them skipped\n", text)
        self.assertRegex(text, r"\n  groups      0: 96 B after 1\.\d kB read    1: 48 B after 1\.\d kB    2: ")
        self.assertNotIn("\n  runs ", text)  # of nothing but whole rows
        text = sluice("plan", model, "--rules", self.rules("l.0.q[:, 1:3]\nl.0.k[:, :3]")).stdout.decode()
        self.assertIn("            <- l.0.q [:, 1:3]\n", text)
        self.assertIn("\n  runs        4 B the shortest (l.0.q): such short ones are slow\n", text)

    def test_long_plans_are_cut_short(self):
        model, _ = self.model()
        rules = self.rules("let n = 40\nfor i in 0 .. n\ntensor t{i} BF16 [4]\nx.unused -> t{i}\nend\n")
        text = sluice("plan", model, "--rules", rules).stdout.decode()
        self.assertIn("\n  ... 16 more; --as-rules prints them all\n", text)
        self.assertEqual(text.count("<- x.unused"), 24)

    def test_a_plan_as_rules_is_a_rules_file_of_that_plan(self):
        model, _ = self.model()
        for options in (["--rules", self.rules(), "--set", "world=4", "--set", "rank=2"],
                        ["--rules", self.rules(), "--device", "cuda:0,cuda:1"],
                        ["--slice", "l.*.q:0:1/2", "--dtype", "F16"], ["--select", "e.*"]):
            with self.subTest(options):
                written = sluice("plan", model, *options, "--as-rules")
                self.assertEqual((written.returncode, written.stderr), (0, b""))
                numbers = self.folder / "numbers.rules"
                numbers.write_bytes(written.stdout)
                self.assertEqual(sluice("plan", model, "--rules", str(numbers), "--as-rules").stdout, written.stdout)
                before = self.json_of("plan", model, *options)
                after = self.json_of("plan", model, "--rules", str(numbers))
                keys = ("name", "dtype", "shape", "bytes", "device")
                listed = lambda plan: sorted([str(tensor[key]) for key in keys] for tensor in plan["tensors"])
                self.assertEqual(listed(after), listed(before))
                for key in ("bytes", "delivered_bytes", "extents", "copies", "launches", "peak_staging_bytes"):
                    self.assertEqual(after["stats"][key], before["stats"][key], key)

    def test_inspect_lists_what_the_file_takes(self):
        model, _ = self.model()
        names = [entry["name"] for entry in self.json_of("inspect", model, "--rules", self.rules())["tensors"]]
        self.assertEqual(names, [name for name in self.json_names(model) if name != "x.unused"])

    def json_names(self, model):
        return [entry["name"] for entry in self.json_of("inspect", model)["tensors"]]

    def test_a_file_that_cannot_be_worked_out_is_wrong_usage(self):
        model, _ = self.model()
        for text, said in (("norm\nnorm ->\n", ":2:8"), ("let a = b", ":1:9"), ("norm cast I8", ":1:11"),
                           ("use config.json\nlet a = 1 / (n - 8)\nnorm group a", ":2:11"), ("norm\nnor*", ":2:1")):
            with self.subTest(text):
                for command in ("plan", "load", "inspect"):
                    self.check_fault(sluice(command, model, "--rules", self.rules(text)), 2, "my.rules" + said)
        self.check_fault(sluice("plan", model, "--rules", self.rules(), "--set", "wrld=2"), 2, "wrld", "rows")

    def test_a_file_that_does_not_fit_is_the_inputs_fault(self):
        model, _ = self.model()
        for text, *said in (("no.such", "my.rules:1:1", "no.such"), ("norm[0:6]", "norm", "which has 5"),
                            ("l.0.q[part 1 of 3]", "l.0.q", "3 parts"), ("strict\nnorm", "11 of 12 tensors"),
                            ("tensor t BF16 [9, 4]\nl.0.q -> t[:8]", "\"t\"", "4 of 36 elements are missing"),
                            ("tensor t F4 [3]\nnorm", "\"t\"", "whole bytes"),
                            ("use other.json", "my.rules:1:1", "other.json")):
            with self.subTest(text):
                for command in ("plan", "load"):
                    self.check_fault(sluice(command, model, "--rules", self.rules(text)), 1, *said)
        self.check_fault(sluice("plan", model, "--rules", str(self.folder / "gone.rules")), 1, "gone.rules")

    def test_what_makes_no_sense_together_is_wrong_usage(self):
        model, _ = self.model()
        rules = ["--rules", self.rules()]
        for arguments in ([*rules, "--select", "*"], [*rules, "--slice", "*:0"], [*rules, "--dtype", "F32"],
                          ["--set", "world=2"], ["--rules", ""], ["--rules"], [*rules, *rules],
                          [*rules, "--set", "world"], [*rules, "--set", "=2"], [*rules, "--set", "world=two"],
                          [*rules, "--set", "world="], [*rules, "--set", "world=2x"], [*rules, "--set", "2=2"],
                          [*rules, "--set", "a b=2"], [*rules, "--set", "world=9223372036854775808"],
                          [*rules, "--set", "world=2", "--set", "world=2"]):
            with self.subTest(arguments):
                self.check_fault(sluice("load", model, *arguments), 2, "sluice load --help")
        self.check_fault(sluice("inspect", model, *rules, "--select", "*"), 2, "--rules")
        self.check_fault(sluice("plan", model, *rules, "--as-rules", "--json"), 2, "--as-rules")
        self.check_fault(sluice("load", model, *rules, "--as-rules"), 2, "--as-rules")


class Interrupted(ToolTest):
    def start(self, *arguments, **options):
        process = subprocess.Popen([SLUICE, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=options.pop("stderr", subprocess.PIPE), **options)
        self.addCleanup(process.kill)
        return process

    def wait_until_signals_are_taken(self, process):
        status = pathlib.Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            blocked = int(re.search(r"^SigBlk:\s*(\w+)", status.read_text(), re.M)[1], 16)
            if blocked >> (signal.SIGINT - 1) & 1:
                return
        self.fail("it ended by itself")

    def end(self, process, number):
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=TIMEOUT_S)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def test_a_signal_ends_a_load_at_any_moment(self):
        path = str(self.endless())
        for number in (signal.SIGINT, signal.SIGTERM):
            for options in (["--reader", "pread"], [], ["--staging", "1MiB"]):
                with self.subTest(number=number, options=options):
                    process = self.start("load", path, "--device", "null", "--json", *options)
                    self.wait_until_signals_are_taken(process)
                    self.check_fault(self.end(process, number), 128 + number, "interrupted")

    def test_a_signal_ends_a_load_that_is_reading(self):
        process = self.start("load", str(self.endless()), "--device", "null", "--reader", "pread")
        read = 0
        while read < 256 << 20:
            self.assertIsNone(process.poll())
            read = int(re.search(r"rchar: (\d+)", pathlib.Path(f"/proc/{process.pid}/io").read_text())[1])
        self.check_fault(self.end(process, signal.SIGINT), 130, "interrupted")

    def test_a_parent_that_ignores_the_signal_does_not_make_the_tool_deaf(self):
        ignore = lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)
        process = self.start("load", str(self.endless()), "--device", "null", preexec_fn=ignore)
        self.wait_until_signals_are_taken(process)
        self.check_fault(self.end(process, signal.SIGINT), 130)

    def test_progress_is_drawn_on_a_terminal_and_only_there(self):
        terminal, side = pty.openpty()
        self.addCleanup(os.close, terminal)
        process = self.start("load", str(self.endless()), "--device", "null", stderr=side)
        os.close(side)
        drawn = b""
        while b"left" not in drawn:
            self.assertTrue(select.select([terminal], [], [], TIMEOUT_S)[0])
            drawn += os.read(terminal, 65536)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.communicate(timeout=TIMEOUT_S), (b"", None))
        self.assertEqual(process.returncode, 130)
        while b"interrupted" not in drawn:
            drawn += os.read(terminal, 65536)
        self.assertRegex(drawn.decode(), r"\d+%  .+ of 1\.1 TB  .+/s  .+ left")
        self.assertIn(b"\r\x1b[Ksluice: ", drawn)  # the line is cleared before the last word


class Cuda(ToolTest):
    """On the simulated driver, which ends the process at the first thing that a real one would not forgive."""

    def setUp(self):
        super().setUp()
        simulator = pathlib.Path(SLUICE).parent / "tests/sim"
        if not (simulator / "libcuda.so.1").exists():
            self.skipTest(f"no simulated driver in {simulator}")
        self.environment = {**os.environ, "LD_LIBRARY_PATH": str(simulator)}

    def small_checkpoint(self):
        """Of which a simulated GPU, which interprets each cast, has several extents all the same."""
        return self.checkpoint(rows=100, large=150_001)[0]

    def loaded(self, *arguments):
        result = sluice("load", *arguments, "--digest", "sha256", "--json", env=self.environment)
        if b"without nvcc" in result.stderr:
            self.skipTest("built without nvcc")
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        return json.loads(result.stdout)

    def test_gpus_get_what_the_host_gets(self):
        model = self.small_checkpoint()
        for dtype in ([], ["--dtype", "F32"], ["--dtype", "F8_E4M3"], ["--dtype", "F64"]):
            with self.subTest(dtype=dtype):
                options = ["--slab", "64KiB", *dtype]
                on_host = self.json_of("load", str(model), "--digest", "sha256", *options)
                on_gpus = self.loaded(str(model), "--device", "cuda:0,cuda:1", *options)
                self.assertGreater(on_gpus["stats"]["extents"], 3)
                self.assertEqual(
                    sorted((tensor["name"], tensor["device"], tensor["digest"]) for tensor in on_gpus["tensors"]),
                    sorted((tensor["name"], device, tensor["digest"]) for tensor in on_host["tensors"]
                           for device in ("cuda:0", "cuda:1")))
                planned = self.json_of("plan", str(model), "--device", "cuda:0,cuda:1", *options)
                for key in ("bytes", "delivered_bytes", "extents", "copies", "launches"):
                    self.assertEqual(planned["stats"][key], on_gpus["stats"][key], key)

    def test_gpus_are_the_ranks_of_a_rules_file(self):
        model, _ = Rules.model(self)
        rules = Rules.rules(self, Rules.FILE.replace("norm cast", "tensor columns BF16 [4 / world, 8]\n"
                                                     "l.0.q[:, part rank of world] order (1, 0) -> columns\nnorm cast"))
        on_gpus = self.loaded(model, "--rules", rules, "--device", "cuda:0,cuda:1")
        for rank in range(2):
            on_host = self.json_of("load", model, "--rules", rules, "--set", "world=2", "--set", f"rank={rank}",
                                   "--digest", "sha256")
            listed = lambda loaded, device: sorted((tensor["name"], tensor["dtype"], tensor["shape"], tensor["digest"])
                                                   for tensor in loaded["tensors"] if tensor["device"] == device)
            self.assertEqual(listed(on_gpus, f"cuda:{rank}"), listed(on_host, "host"))

    def test_a_trace_has_the_gpus_copies_and_kernels(self):
        path = self.folder / "trace.json"
        loaded = self.loaded(str(self.small_checkpoint()), "--device", "cuda:0,cuda:1", "--dtype", "F32", "--slab", "64KiB",
                             "--trace", str(path))
        rows = rows_of(self, path)
        for row in ("reader", "cuda:0 copies", "cuda:0 kernels", "cuda:1 copies", "cuda:1 kernels"):
            self.assertIn(row, rows)
        kernels = [span for row in ("cuda:0 kernels", "cuda:1 kernels") for span in rows[row]]
        self.assertEqual(len(kernels), loaded["stats"]["launches"])
        self.assertEqual({name for _, _, name, _ in kernels}, {"deliver"})

    def test_a_gpu_that_is_not_there(self):
        model, _ = self.checkpoint()
        result = sluice("load", str(model), "--device", "cuda:2", env=self.environment)
        self.check_fault(result, 1, "cuda:2", "2 CUDA devices")

    def test_doctor_names_the_gpus(self):
        result = sluice("doctor", env=self.environment)
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        self.assertRegex(result.stdout.decode(), r"(?m)^ok +cuda:1 ")


class Doctor(ToolTest):
    def test_each_check_is_a_line(self):
        result = sluice("doctor", str(self.folder))
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        text = result.stdout.decode()
        for words in ("io_uring", "memlock", "seccomp", "O_DIRECT", "file system", "page cache", "huge pages", "numa",
                      "descriptors", "memory", "processors", "cuda"):
            self.assertRegex(text, rf"(?m)^(ok|slow|failed|info) +{words} ")
        self.assertEqual(os.listdir(self.folder), [])

    def test_json_is_a_list_of_checks(self):
        model, _ = self.checkpoint()
        for arguments in ([], [str(model)], [str(model / "m-00001-of-00002.safetensors")]):
            for check in self.json_of("doctor", *arguments)["checks"]:
                self.assertEqual(list(check), ["name", "status", "finding", "advice"])
                self.assertIn(check["status"], ("ok", "slow", "failed", "info"))

    def test_without_a_path_no_file_system_is_judged(self):
        names = [check["name"] for check in self.json_of("doctor")["checks"]]
        self.assertNotIn("O_DIRECT", names)
        self.assertIn("io_uring", names)

    def test_a_path_that_is_not_there(self):
        self.check_fault(sluice("doctor", str(self.folder / "gone")), 1, "gone")

    def test_a_leased_file_is_waited_for(self):
        model, _ = self.checkpoint()
        shard = model / "m-00001-of-00002.safetensors"
        expected = sluice("doctor", str(shard)).stdout
        lease = os.open(shard, os.O_RDWR)
        self.addCleanup(os.close, lease)
        let_go = lambda *_: fcntl.fcntl(lease, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        self.addCleanup(signal.signal, signal.SIGIO, signal.signal(signal.SIGIO, let_go))
        try:
            fcntl.fcntl(lease, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as error:
            self.skipTest(f"no lease may be had here: {error}")
        direct = [line for line in expected.splitlines() if b"O_DIRECT" in line]
        self.assertEqual(len(direct), 1)
        self.assertIn(direct[0], sluice("doctor", str(shard)).stdout)


if __name__ == "__main__":
    SLUICE = os.path.abspath(sys.argv.pop(1))
    unittest.main()
