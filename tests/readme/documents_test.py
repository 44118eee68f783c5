"""Checks README and docs: relative links lead to files, rows of a table have as many cells as its head, and each note is
both used and there. usage: documents_test.py SOURCE_FOLDER"""

import pathlib
import re
import sys
import unittest


def without_code(text):
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


class Documents(unittest.TestCase):
    def each(self):
        root = pathlib.Path(SOURCE)
        documents = [root / "README.md", root / "CONTRIBUTING.md", *root.glob("docs/**/*.md"), *root.glob("bench/results/*.md")]
        self.assertGreater(len(documents), 10)
        return [(path, without_code(path.read_text(encoding="utf-8"))) for path in documents]

    def test_links_lead_to_files(self):
        for path, text in self.each():
            for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
                if "://" not in target:
                    self.assertTrue((path.parent / target).exists(), f"{path}: {target}")

    def test_tables_are_whole(self):
        for path, text in self.each():
            cells = 0
            for line in text.splitlines():
                if line.startswith("|"):
                    cells = cells or line.count("|")
                    self.assertEqual(line.count("|"), cells, f"{path}: {line}")
                else:
                    cells = 0

    def test_notes_are_used_and_there(self):
        for path, text in self.each():
            used = set(re.findall(r"\[\^(\w+)\](?!:)", text))
            self.assertEqual(used, set(re.findall(r"^\[\^(\w+)\]:", text, flags=re.MULTILINE)), path)


if __name__ == "__main__":
    SOURCE = sys.argv.pop()
    unittest.main()
