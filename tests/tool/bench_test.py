#!/usr/bin/env python3
"""`sluice bench` as its users see it: its object, its picture, its sentence, what it leaves out, and how it ends.

Method: small checkpoints. Three machines are made by hand, each with one thing so slow that nothing else can matter:
storage, by a preloaded library under which pread takes its time; the processor, of which there is one, by a cast; the
link, by the simulated driver's clock. Nothing depends on how fast anything else is.
Usage: bench_test.py PATH_OF_SLUICE PATH_OF_SLOW_STORAGE [unittest options]
"""

import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

import tool_test
from tool_test import ToolTest, header_of, noise, sluice, write_shard

SLOW_STORAGE = ""

KEYS = {"machine", "checkpoint", "devices", "limits", "rounds", "cold", "warm", "others_cpu_share", "notes"}
START_KEYS = {
    "seconds", "process_seconds", "phases", "gb_per_s", "bytes", "delivered_bytes", "direct_bytes", "cached_bytes_before",
    "cpu_seconds", "process_cpu_seconds", "reader", "io", "peak_staging_bytes", "peak_resident_bytes",
}
SUMMARY_KEYS = {
    "seconds", "process_seconds", "phases", "gb_per_s", "limit", "share_of_limit", "cpu_seconds_per_gb",
    "peak_resident_bytes", "peak_staging_bytes", "bottleneck",
}
KINDS = {"storage", "link", "memory", "processor", "driver start-up", None}


class BenchTest(ToolTest):
    def checkpoint_of(self, megabytes, dtype="F16", folder=None):
        path = pathlib.Path(folder or self.folder) / "model.safetensors"
        piece = noise(7, 1 << 20)
        write_shard(path, [(f"t{i}", dtype, [len(piece) // 2], piece) for i in range(megabytes)])
        return str(path)

    def bench(self, *arguments, **options):
        result = sluice("bench", *arguments, "--json", **options)
        if b"without nvcc" in result.stderr:
            self.skipTest("built without nvcc")
        self.assertEqual((result.returncode, result.stderr), (0, b""), result)
        return json.loads(result.stdout.decode())

    def cold_or_skip(self, *arguments, **options):
        """Of a machine on which this folder's files can leave the page cache."""
        result = sluice("bench", *arguments, "--json", **options)
        if b"no cold start to measure" in result.stderr:
            self.skipTest(result.stderr.decode())
        self.assertEqual((result.returncode, result.stderr), (0, b""), result)
        return json.loads(result.stdout.decode())


class Object(BenchTest):
    def test_it_has_every_sample_and_what_follows_from_it(self):
        path = self.checkpoint_of(4)
        measured = self.bench(path, "--rounds", "2")
        self.assertEqual(set(measured), KEYS)
        self.assertEqual(set(measured["machine"]),
                         {"cpu", "processors", "memory_bytes", "kernel", "file_system", "gpus"})
        self.assertEqual(measured["machine"]["processors"], len(os.sched_getaffinity(0)))
        self.assertEqual(measured["checkpoint"],
                         {"path": path, "shards": 1, "tensors": 4, "bytes": os.path.getsize(path)})
        self.assertEqual(measured["devices"], ["host"])
        self.assertEqual(len(measured["rounds"]), 2)
        kinds = [kind for kind in ("cold", "warm") if measured[kind] is not None]
        self.assertIn("warm", kinds)
        self.assertEqual("cold" in kinds, not any(note["what"] == "cold" and "left out" in note["reason"]
                                                  for note in measured["notes"]))
        for kind in kinds:
            self.check_kind(measured, kind)
        self.check_limits(measured, kinds)

    def check_kind(self, measured, kind):
        starts = [turn[kind] for turn in measured["rounds"]]
        for start in starts:
            self.assertEqual(set(start), START_KEYS)
            self.assertEqual(set(start["phases"]), tool_test.PHASES)
            self.assertGreater(start["process_seconds"], start["seconds"])
            cached = start["cached_bytes_before"]
            size = measured["checkpoint"]["bytes"]
            self.assertTrue(cached * 100 < size if kind == "cold" else cached >= size, cached)
        summary = measured[kind]
        self.assertEqual(set(summary), SUMMARY_KEYS)
        seconds = sorted(start["seconds"] for start in starts)
        self.assertEqual((summary["seconds"]["least"], summary["seconds"]["most"]), (seconds[0], seconds[-1]))
        self.assertAlmostEqual(summary["seconds"]["median"], sum(seconds) / 2)
        self.assertEqual(summary["peak_resident_bytes"], max(start["peak_resident_bytes"] for start in starts))
        self.assertEqual(set(summary["bottleneck"]), {"kind", "sentence", "explained_seconds"})
        self.assertIn(summary["bottleneck"]["kind"], KINDS)
        self.assertNotIn("\n", summary["bottleneck"]["sentence"])
        if summary["limit"] is not None:
            explained = summary["bottleneck"]["explained_seconds"][summary["limit"]]
            self.assertAlmostEqual(summary["share_of_limit"], explained / summary["seconds"]["median"])

    def check_limits(self, measured, kinds):
        limits = measured["limits"]
        self.assertEqual(set(limits), {"storage", "page_cache", "memory", "links", "driver_start_up"})
        self.assertEqual((limits["links"], limits["driver_start_up"]), ([], None))
        if "cold" in kinds:
            storage = limits["storage"]
            self.assertEqual(set(storage), {"gb_per_s", "best", "reader", "io", "settings"})
            self.assertGreaterEqual(len(storage["settings"]), 6)
            best = max(storage["settings"], key=lambda setting: setting["gb_per_s"])
            self.assertEqual(storage["best"], {key: best[key] for key in ("request_bytes", "depth")})
            for setting in storage["settings"]:
                self.assertEqual(set(setting), {"request_bytes", "depth", "gb_per_s", "samples"})
                self.assertEqual(len(setting["samples"]), 2)
        for name in ("page_cache", "memory"):
            self.assertEqual(set(limits[name]), {"gb_per_s", "settings", "samples"})
            self.assertEqual(len(limits[name]["samples"]), 2)
        self.assertEqual(limits["page_cache"]["settings"]["into"], "fresh memory")

    def test_options_of_load_reach_the_load(self):
        path = self.checkpoint_of(2)
        measured = self.bench(path, "--warm", "--rounds", "1", "--reader", "pread", "--select", "[t]0", "--dtype", "F32",
                              "--device", "host", "--threads", "1", "--digest", "sha256", "--trace",
                              str(self.folder / "trace"), "--io", "buffered")
        start, = (turn["warm"] for turn in measured["rounds"])
        self.assertEqual((start["reader"], start["io"], measured["devices"]), ("pread", "buffered", ["host"]))
        self.assertEqual(start["delivered_bytes"], 2 << 20)
        self.assertIsNone(measured["cold"])
        self.assertIsNone(measured["limits"]["storage"])
        self.assertEqual(measured["limits"]["page_cache"]["settings"], {"threads": 1, "into": "reused slabs"})
        self.assertFalse((self.folder / "trace").exists())

    def test_nothing_is_read_by_the_null_reader(self):
        measured = self.bench(self.checkpoint_of(2), "--warm", "--rounds", "1", "--reader", "null", "--device", "null")
        self.assertIsNone(measured["limits"]["page_cache"])
        self.assertEqual(measured["rounds"][0]["warm"]["reader"], "null")


class Report(BenchTest):
    def test_the_table_says_what_was_measured_and_one_sentence(self):
        path = self.checkpoint_of(2)
        result = sluice("bench", path, "--warm", "--rounds", "1")
        self.assertEqual((result.returncode, result.stderr), (0, b""), result)
        text = result.stdout.decode()
        for said in (path, "medians of 1 round", "page cache", "fresh memory", "start-up"):
            self.assertIn(said, text)
        self.assertEqual(len(re.findall("^warm: .*$", text, re.M)), 1)
        self.assertNotIn("cold", text)

    def test_progress_is_drawn_on_a_terminal_and_cleared(self):
        terminal, side = pty.openpty()
        self.addCleanup(os.close, terminal)
        result = sluice("bench", self.checkpoint_of(1), "--warm", "--rounds", "1", stderr=side)
        os.close(side)
        self.assertEqual(result.returncode, 0)
        drawn = b""
        while not drawn.endswith(b"\r\x1b[K"):
            drawn += os.read(terminal, 65536)
        self.assertIn(b"\rround 1 of 1: warm start\x1b[K", drawn)

    def test_the_picture_is_well_formed_and_replaces_only_pictures(self):
        path = self.checkpoint_of(1)
        picture = self.folder / "start.svg"
        arguments = ("bench", path, "--warm", "--rounds", "1", "--plot", str(picture))
        for _ in range(2):  # the second replaces the first
            self.assertEqual(sluice(*arguments).returncode, 0)
            root = xml.etree.ElementTree.parse(picture).getroot()
            self.assertEqual(root.tag, "{http://www.w3.org/2000/svg}svg")
            words = " ".join(node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text"))
            self.assertIn("warm", words)
            self.assertIn("Linux", words)
        before = pathlib.Path(path).read_bytes()
        self.check_fault(sluice("bench", path, "--warm", "--plot", path), 1, "holds something else")
        self.assertEqual(pathlib.Path(path).read_bytes(), before)
        self.assertEqual(sorted(os.listdir(self.folder)), ["model.safetensors", "start.svg"])


class Usage(BenchTest):
    def test_wrong_usage_is_status_2_and_one_line(self):
        path = self.checkpoint_of(1)
        for arguments in ([], [path, "--rounds", "0"], [path, "--rounds", "101"], [path, "--rounds", "x"],
                          [path, "--cold", "--warm"], [path, "--plot", ""], [path, "--cold=no"], [path, "--nonsense"],
                          [path, "--device", "gpu"], [path, path]):
            with self.subTest(arguments):
                self.check_fault(sluice("bench", *arguments), 2, "sluice bench --help")
        self.check_fault(sluice("load", path, "--rounds", "3"), 2, "--rounds")
        for arguments in ([], ["--device", "host"], ["--device", "cuda:0,null"], ["--device", "cuda:0", path]):
            self.check_fault(sluice("bench-link", *arguments), 2, "sluice bench-link --help")

    def test_help_tells_of_every_option(self):
        source = pathlib.Path(__file__).parents[2] / "loader/tool/arguments.cpp"
        told = sluice("bench", "--help").stdout.decode()
        for option in set(re.findall(r'(?:value|add_flag)\("(--[a-z-]+)"', source.read_text())) - {"--as-rules"}:
            self.assertIn(option, told)
        self.assertLessEqual(max(map(len, told.splitlines())), 120)
        self.assertIn("bench ", sluice("--help").stdout.decode())
        self.assertIn("cuda", sluice("bench-link", "--help").stdout.decode())

    def test_what_load_refuses_is_refused_alike(self):
        path = self.checkpoint_of(1)
        for arguments in ([str(self.folder / "gone")], [path, "--select", "nothing*"], [path, "--slice", "t0:7:0/2"]):
            of_load = sluice("load", *arguments)
            of_bench = sluice("bench", *arguments)
            self.assertEqual((of_bench.returncode, of_bench.stderr), (of_load.returncode, of_load.stderr))
        result = sluice("bench", path, "--warm", "--device", "cuda:63")
        self.check_fault(result, 1, "cuda:63")
        empty = self.folder / "empty.safetensors"
        write_shard(empty, [("nothing", "F32", [0], b"")])
        self.check_fault(sluice("bench", str(empty)), 1, "nothing to measure", str(empty))

    def test_files_in_memory_have_no_cold_start(self):
        if not os.access("/dev/shm", os.W_OK):
            self.skipTest("there is no /dev/shm")
        with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="sluice-tool-") as folder:
            path = self.checkpoint_of(1, folder=folder)
            if "keeps files in memory" not in str(self.bench(path, "--rounds", "1")["notes"]):
                self.skipTest("/dev/shm lies on a disk")
            measured = self.bench(path, "--rounds", "1")
            self.assertIsNone(measured["cold"])
            self.assertIsNone(measured["limits"]["storage"])
            self.assertIsNotNone(measured["warm"])
            self.check_fault(sluice("bench", path, "--cold"), 1, "no cold start", "in memory", path)


class Sentence(BenchTest):
    """That it is right, on machines of which one thing is slow."""

    def test_slow_storage(self):
        if not SLOW_STORAGE:
            self.skipTest("a sanitizer's own library must be loaded first")
        environment = {**os.environ, "LD_PRELOAD": SLOW_STORAGE, "SLOW_STORAGE": "20e6"}
        measured = self.cold_or_skip(self.checkpoint_of(6), "--cold", "--rounds", "1", "--reader", "pread",
                                     env=environment)
        self.assertEqual(measured["cold"]["bottleneck"]["kind"], "storage", measured["cold"])
        self.assertIn("from storage", measured["cold"]["bottleneck"]["sentence"])
        self.assertLess(measured["limits"]["storage"]["gb_per_s"], 0.021)
        self.assertEqual(measured["limits"]["storage"]["reader"], "pread")

    def test_one_processor(self):
        path = self.checkpoint_of(64)

        def on_one_processor():
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            try:
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))  # whatever else wants it
            except OSError:
                pass

        for _ in range(4):
            measured = self.bench(path, "--warm", "--rounds", "3", "--dtype", "F8_E4M3", preexec_fn=on_one_processor)
            if measured["warm"]["bottleneck"]["kind"] is not None:
                break
        else:
            if any(note["what"] == "machine" for note in measured["notes"]):
                self.skipTest("others have the processor for most of the time")
        self.assertEqual(measured["machine"]["processors"], 1)
        self.assertEqual(measured["warm"]["bottleneck"]["kind"], "processor", measured["warm"])
        self.assertIn("on 1 processor", measured["warm"]["bottleneck"]["sentence"])

    def test_slow_link(self):
        simulator = pathlib.Path(tool_test.SLUICE).parent / "tests/sim"
        if not (simulator / "libcuda.so.1").exists():
            self.skipTest(f"no simulated driver in {simulator}")
        environment = {**os.environ, "LD_LIBRARY_PATH": str(simulator), "SLUICE_SIM_LINK": "4000000"}
        measured = self.bench(self.checkpoint_of(4), "--warm", "--rounds", "1", "--device", "cuda:0", env=environment)
        self.assertEqual(measured["warm"]["bottleneck"]["kind"], "link", measured["warm"])
        self.assertIn("over the link to cuda:0", measured["warm"]["bottleneck"]["sentence"])
        link, = measured["limits"]["links"]
        self.assertEqual(set(link), {"gb_per_s", "settings", "samples"})
        self.assertEqual(link["settings"], {"device": "cuda:0"})
        self.assertLess(link["gb_per_s"], 0.00401)
        self.assertGreater(measured["limits"]["driver_start_up"]["seconds"], 0)
        self.assertEqual(len(measured["machine"]["gpus"]), 1)


class Interrupted(BenchTest):
    def children_of(self, process):
        return [int(pid) for pid in pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]

    def test_a_signal_ends_it_and_what_it_started(self):
        picture = self.folder / "start.svg"
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number):
                process = subprocess.Popen(
                    [tool_test.SLUICE, "bench", self.endless(), "--cold", "--device", "null", "--reader", "null",
                     "--rounds", "100", "--plot", str(picture)],
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                self.addCleanup(process.kill)
                children = []
                while not children and process.poll() is None:
                    children = self.children_of(process)
                if process.poll() is not None:
                    self.skipTest(process.communicate()[1].decode())
                process.send_signal(number)
                stdout, stderr = process.communicate(timeout=tool_test.TIMEOUT_S)
                self.check_fault(subprocess.CompletedProcess([], process.returncode, stdout, stderr), 128 + number,
                                 "interrupted")
                for child in children:
                    self.assertFalse(pathlib.Path(f"/proc/{child}").exists())
                self.assertEqual(os.listdir(self.folder), ["endless.safetensors"])

    def test_a_signal_ends_a_measurement(self):
        process = subprocess.Popen([tool_test.SLUICE, "bench", self.endless(), "--cold", "--device", "null"],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.kill)
        status = pathlib.Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            if int(re.search(r"^SigBlk:\s*(\w+)", status.read_text(), re.M)[1], 16) >> (signal.SIGINT - 1) & 1:
                break
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=tool_test.TIMEOUT_S)
        self.check_fault(subprocess.CompletedProcess([], process.returncode, stdout, stderr), 130, "interrupted")


if __name__ == "__main__":
    tool_test.SLUICE = os.path.abspath(sys.argv.pop(1))
    SLOW_STORAGE = sys.argv.pop(1)
    unittest.main()
