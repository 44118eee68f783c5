"""What scripts write lies over nothing but its like, and a run that fails leaves everything as it was.

Method: runs them, as a user would who names the wrong path, and compares all files before and after.
"""

import importlib.util
import json
import os
import pathlib
import stat
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).parents[2]
TRACE = {"otherData": {"origin_ns": 1, "dropped": 0}, "traceEvents": [
    {"ph": "M", "pid": 1, "tid": 1, "name": "thread_name", "args": {"name": "reader"}},
    {"ph": "X", "pid": 1, "tid": 1, "name": "read", "cat": "sluice", "ts": 1, "dur": 5, "args": {"extent": 0}},
    {"ph": "X", "pid": 1, "tid": 1, "name": "read", "cat": "sluice", "ts": 9, "dur": 5, "args": {"extent": 1}},
]}


class Outputs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="sluice-scripts-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_script(self, script, *arguments):
        return subprocess.run([sys.executable, ROOT / script, *map(str, arguments)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, preexec_fn=lambda: os.umask(0o027))

    def files(self):
        return {path: path.read_bytes() if path.is_file() else None for path in self.folder.rglob("*")}

    def check_refused(self, said, script, *arguments):
        before = self.files()
        done = self.run_script(script, *arguments)
        self.assertEqual(done.returncode, 1, done)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(said, done.stderr)
        self.assertEqual(self.files(), before)

    def trace(self):
        path = self.folder / "trace.json"
        path.write_text(json.dumps(TRACE))
        return path

    def test_a_picture_replaces_only_a_picture(self):
        trace, picture, link = self.trace(), self.folder / "picture.svg", self.folder / "link.svg"
        self.assertEqual(self.run_script("scripts/draw_trace.py", trace, picture).returncode, 0)
        first = picture.read_text()
        self.assertTrue(first.startswith("<svg "))
        self.assertEqual(stat.S_IMODE(picture.stat().st_mode), 0o640)
        link.symlink_to("picture.svg")
        picture.chmod(0o604)
        self.assertEqual(self.run_script("scripts/draw_trace.py", trace, link, "title").returncode, 0)
        self.assertTrue(link.is_symlink())
        self.assertIn("title", picture.read_text())
        self.assertEqual(stat.S_IMODE(picture.stat().st_mode), 0o604)
        shard = self.folder / "model.safetensors"
        shard.write_bytes(b"\x80\0\0\0\0\0\0\0{}")
        for other in (trace, shard):
            self.check_refused("new file", "scripts/draw_trace.py", trace, other)
        self.assertEqual(len(self.files()), 4)

    def test_a_picture_can_go_to_standard_output(self):
        done = self.run_script("scripts/draw_trace.py", self.trace(), "/dev/stdout")
        self.assertTrue(done.stdout.startswith("<svg "))

    def test_a_sparse_checkpoint_is_made_in_a_new_folder_only(self):
        model = self.folder / "model"
        self.assertEqual(self.run_script("bench/open/make.py", model, 10, 3).returncode, 0)
        self.assertEqual(sorted(path.name for path in model.iterdir()),
                         [f"model-0000{shard}-of-00003.safetensors" for shard in (1, 2, 3)] +
                         ["model.safetensors.index.json"])
        self.assertEqual(stat.S_IMODE(model.stat().st_mode), 0o750)
        self.check_refused("new folder", "bench/open/make.py", model, 10, 3)
        self.check_refused("new folder", "bench/open/make.py", self.trace(), 10, 3)

    def test_a_checkpoint_that_is_not_finished_leaves_nothing(self):
        done = self.run_script("bench/open/make.py", self.folder / "model", 10, "none")
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(self.files(), {})

    @unittest.skipUnless(importlib.util.find_spec("numpy"), "this Python has no numpy")
    def test_the_demos_checkpoint_is_made_once_and_over_nothing(self):
        model = self.folder / "model"
        self.assertEqual(self.run_script("scripts/demo_checkpoint.py", model, 1 << 20).returncode, 0)
        made = self.files()
        self.assertEqual(len(made), 1 + 4 + 2)
        self.assertEqual(self.run_script("scripts/demo_checkpoint.py", model, 1 << 20).returncode, 0)
        self.assertEqual(self.files(), made)
        other = self.folder / "other"
        other.mkdir()
        (other / "precious").write_text("weights")
        self.check_refused("new folder", "scripts/demo_checkpoint.py", other, 1 << 20)


if __name__ == "__main__":
    unittest.main()
