"""docs/python.md: its first example works as it stands there."""

import os
import pathlib
import re
import unittest

from support import Case

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "python.md"


class Documents(Case):
    def test_the_first_example_works(self):
        self.shard([("a.weight", "F32", [2, 2]), ("a.bias", "F32", [2])])
        example = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)[1]
        self.assertLessEqual(len(example.splitlines()), 12)
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.folder)
        said, errors = self.run_script(example)
        self.assertEqual(errors, "")
        lines = said.splitlines()
        self.assertEqual(sorted(lines[:2]), ["a.bias F32 (2,) host", "a.weight F32 (2, 2) host"])
        self.assertTrue(lines[2].endswith(" 1"))
        self.assertEqual(lines[3], "2 True")


if __name__ == "__main__":
    unittest.main()
